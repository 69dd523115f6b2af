#include "core/config/nearest.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

TEST(Nearest, finds_the_word_that_was_meant_and_nothing_where_none_is_near) {
  const std::vector<std::string> words = {"listen", "threads", "limits"};
  EXPECT_EQ(nearest("lisen", words), "listen");
  EXPECT_EQ(nearest("thread", words), "threads");
  EXPECT_EQ(nearest("limit", words), "limits");
  EXPECT_EQ(nearest("zzz", words), "");
  EXPECT_EQ(nearest("", words), "");
  EXPECT_EQ(nearest(std::string(100000, 'l'), words), "");
}

}  // namespace
}  // namespace extprocd::config
