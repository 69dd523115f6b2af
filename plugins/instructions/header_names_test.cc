#include "plugins/instructions/header_names.h"

#include <gtest/gtest.h>

namespace instructions {
namespace {

TEST(HeaderNames, without_lists_everything_is_permitted) {
  EXPECT_TRUE(HeaderNames({}, {}).permits("X-Any"));
}

TEST(HeaderNames, allow_restricts_and_deny_wins) {
  const HeaderNames names({"X-*", "accept"}, {"x-secret*"});
  EXPECT_TRUE(names.permits("x-a"));
  EXPECT_TRUE(names.permits("ACCEPT"));
  EXPECT_FALSE(names.permits("accept-language"));
  EXPECT_FALSE(names.permits("X-Secret-1"));
  EXPECT_FALSE(names.permits(""));
  EXPECT_FALSE(HeaderNames({}, {"*"}).permits("a"));
}

}  // namespace
}  // namespace instructions
