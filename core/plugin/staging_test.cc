#include "core/plugin/staging.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace extprocd::plugin {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

TEST(StagingTest, copies_have_names_of_their_own_and_go_with_it) {
  std::string first;
  std::string second;
  {
    auto staging = Staging::create("");
    ASSERT_TRUE(staging.ok());
    first = *staging->add("a", "one");
    second = *staging->add("a", "two");
    EXPECT_NE(first, second);
    EXPECT_EQ(content_of(first), "one");
    EXPECT_EQ(content_of(second), "two");
  }
  EXPECT_NE(access(first.c_str(), F_OK), 0);
  EXPECT_NE(access(second.c_str(), F_OK), 0);
}

TEST(StagingTest, the_configured_folder_is_made_if_needed_and_kept) {
  const std::string folder = testing::TempDir() + "staging_test";
  {
    auto staging = Staging::create(folder);
    ASSERT_TRUE(staging.ok()) << staging.status();
    EXPECT_THAT(*staging->add("a", "one"), testing::StartsWith(folder + "/"));
  }
  EXPECT_EQ(rmdir(folder.c_str()), 0);
}

TEST(StagingTest, a_folder_that_cannot_be_used_is_an_error_that_names_it) {
  EXPECT_THAT(std::string(Staging::create("relative").status().message()), testing::HasSubstr("absolute"));
  EXPECT_THAT(std::string(Staging::create("/proc/none").status().message()),
              testing::HasSubstr("/proc/none"));
}

}  // namespace
}  // namespace extprocd::plugin
