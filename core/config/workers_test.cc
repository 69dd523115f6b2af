#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"

namespace extprocd::config {
namespace {

using testing::HasSubstr;

TEST(Workers, are_eight_threads_unless_the_file_says_otherwise) {
  const LoadResult unsaid = load_text("", "f.toml");
  ASSERT_TRUE(unsaid.errors.empty());
  EXPECT_EQ(unsaid.config.server.workers.threads, 8U);
  EXPECT_EQ(unsaid.config.server.workers.max_queue, 1000U);
  const LoadResult said = load_text("[server.workers]\nthreads = 2\nmax_queue = 16\n", "f.toml");
  ASSERT_TRUE(said.errors.empty()) << said.errors[0].to_string();
  EXPECT_EQ(said.config.server.workers.threads, 2U);
  EXPECT_EQ(said.config.server.workers.max_queue, 16U);
}

TEST(Workers, what_is_wrong_is_shown_with_its_place) {
  const LoadResult result =
      load_text("[server.workers]\nthreads = 0\nmax_queue = \"many\"\nmax_queues = 1\n", "f.toml");
  ASSERT_EQ(result.errors.size(), 3U);
  EXPECT_THAT(result.errors[0].to_string(), HasSubstr("f.toml:2:1: server.workers.threads"));
  EXPECT_THAT(result.errors[1].to_string(), HasSubstr("f.toml:3:1: server.workers.max_queue"));
  EXPECT_THAT(result.errors[2].to_string(), HasSubstr("max_queues"));
}

TEST(Workers, a_plugin_may_be_told_to_run_there) {
  const std::string plugin = "[[plugin]]\nname = \"a\"\nmodule = \"a.so\"\n";
  const LoadResult unsaid = load_text(plugin, "f.toml");
  ASSERT_TRUE(unsaid.errors.empty());
  EXPECT_FALSE(unsaid.config.plugin[0].may_block);
  const LoadResult said = load_text(plugin + "may_block = true\n", "f.toml");
  ASSERT_TRUE(said.errors.empty()) << said.errors[0].to_string();
  EXPECT_TRUE(said.config.plugin[0].may_block);
}

}  // namespace
}  // namespace extprocd::config
