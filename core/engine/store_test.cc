#include "core/engine/store.h"

#include <string>

#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

TEST(Store, keeps_bytes_by_key_until_removed) {
  Store store;
  EXPECT_EQ(store.get("a"), std::nullopt);
  EXPECT_TRUE(store.set("a", std::string_view("1\0", 2)));
  EXPECT_TRUE(store.set("", "empty key"));
  EXPECT_EQ(store.get("a")->size(), 2U);
  EXPECT_TRUE(store.set("a", "2"));
  EXPECT_EQ(store.get("a"), "2");
  EXPECT_TRUE(store.remove("a"));
  EXPECT_FALSE(store.remove("a"));
  EXPECT_EQ(store.get(""), "empty key");
}

TEST(Store, a_write_past_the_limit_changes_nothing_and_room_comes_back) {
  Store store;
  const std::string half(Store::kMaxBytes / 2, 'x');
  EXPECT_TRUE(store.set("a", half));
  EXPECT_FALSE(store.set("b", half));  // the keys count too
  EXPECT_EQ(store.get("b"), std::nullopt);
  EXPECT_TRUE(store.set("a", "small"));
  EXPECT_TRUE(store.set("b", half));
  EXPECT_TRUE(store.remove("b"));
  EXPECT_TRUE(store.set("c", half));
}

}  // namespace
}  // namespace extprocd::engine
