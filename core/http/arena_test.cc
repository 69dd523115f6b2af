#include "core/http/arena.h"

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/http/arena_vector.h"

namespace extprocd::http {
namespace {

TEST(Arena, memory_is_aligned_and_keeps_what_is_written_to_it) {
  Arena arena;
  std::vector<std::pair<char*, std::size_t>> all;
  for (std::size_t i = 0; i < 300; ++i) {
    const std::size_t align = std::size_t{1} << i % 7;
    const std::size_t size = i % 50 == 49 ? 5000 : i % 40;
    auto* const memory = static_cast<char*>(arena.allocate(size, align));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % align, 0U);
    std::memset(memory, static_cast<int>(i % 251), size);
    all.emplace_back(memory, size);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(std::string(all[i].first, all[i].second),
              std::string(all[i].second, static_cast<char>(i % 251)));
  }
}

TEST(Arena, nothing_at_all_has_a_place_too) {
  Arena arena;
  EXPECT_NE(arena.allocate(0, 1), nullptr);
  EXPECT_EQ(arena.copy("").size(), 0U);
}

TEST(Arena, a_large_piece_leaves_the_block_in_use_where_it_is) {
  Arena arena;
  const auto* const before = static_cast<char*>(arena.allocate(8, 8));
  static_cast<void>(arena.allocate(100000, 8));
  EXPECT_EQ(static_cast<char*>(arena.allocate(8, 8)), before + 8);
}

TEST(ArenaVector, grows_and_keeps_its_elements) {
  Arena arena;
  ArenaVector<int> numbers;
  numbers.push_back(7, arena);
  for (int i = 1; i < 1000; ++i) numbers.push_back(*numbers.begin(), arena);  // an element of its own
  EXPECT_EQ(numbers.size(), 1000U);
  EXPECT_EQ(std::count(numbers.begin(), numbers.end(), 7), 1000);
  numbers.cut(numbers.begin() + 10);
  EXPECT_EQ(numbers.span().size(), 10U);
}

TEST(ArenaVector, what_is_assigned_again_and_again_moves_seldom_though_it_grows) {
  Arena arena;
  ArenaVector<int> copy;
  std::vector<int> numbers;
  std::set<const int*> places;
  for (int i = 0; i < 1000; ++i) {
    numbers.push_back(i);
    copy.assign(numbers, arena);
    ASSERT_TRUE(std::equal(copy.begin(), copy.end(), numbers.begin(), numbers.end()));
    places.insert(copy.begin());
  }
  EXPECT_LE(places.size(), 11U);
}

}  // namespace
}  // namespace extprocd::http
