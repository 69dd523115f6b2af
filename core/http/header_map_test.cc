#include "core/http/header_map.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::http {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string text(const extproc_str& part) { return {part.data, part.size}; }

class HeaderMapTest : public testing::Test {
 protected:
  HeaderMapTest() {
    map_.add_original("host", "example.com", arena_);
    map_.add_original("Set-Cookie", "a=1", arena_);
    map_.add_original("set-cookie", "b=2", arena_);
  }

  std::vector<std::string> entries() {
    std::vector<std::string> lines;
    for (const auto& entry : map_.entries()) lines.push_back(text(entry.name) + "=" + text(entry.value));
    return lines;
  }

  /// The net difference as lines: "-name", "name=value", "name+=value".
  std::vector<std::string> net() {
    HeaderMutation mutation;
    map_.net(mutation);
    std::vector<std::string> lines;
    for (const auto name : mutation.remove) lines.push_back("-" + std::string(name));
    for (const auto& set : mutation.set) {
      lines.push_back(std::string(set.name) + (set.append ? "+=" : "=") + std::string(set.value));
    }
    return lines;
  }

  Arena arena_;
  HeaderMap map_;
};

TEST_F(HeaderMapTest, keeps_order_and_repeated_names_in_lower_case) {
  EXPECT_THAT(entries(), ElementsAre("host=example.com", "set-cookie=a=1", "set-cookie=b=2"));
  EXPECT_EQ(map_.first("SET-cookie"), "a=1");
  EXPECT_EQ(map_.first("none"), std::nullopt);
  EXPECT_THAT(net(), IsEmpty());
}

TEST_F(HeaderMapTest, a_map_that_has_not_come_is_not_present) {
  HeaderMap map;
  EXPECT_FALSE(map.present());
  map.begin_original(0, arena_);
  EXPECT_TRUE(map.present());
}

TEST_F(HeaderMapTest, what_a_copy_has_become_is_taken_over_as_edits_that_can_be_undone) {
  map_.set("host", "first", arena_);
  map_.begin_undo();
  {
    Arena elsewhere;
    HeaderMap copy;
    copy.copy(map_, elsewhere);
    copy.begin_undo();
    copy.add("set-cookie", "c=3", elsewhere);
    copy.remove("withheld", elsewhere);
    copy.set("host", "example.com", elsewhere);
    EXPECT_TRUE(copy.edited_since_undo_point());
    EXPECT_THAT(entries(), ElementsAre("host=first", "set-cookie=a=1", "set-cookie=b=2"));
    map_.take_over(copy, arena_);
  }
  EXPECT_THAT(entries(),
              ElementsAre("host=example.com", "set-cookie=a=1", "set-cookie=b=2", "set-cookie=c=3"));
  EXPECT_THAT(net(), ElementsAre("-withheld", "set-cookie+=c=3"));
  EXPECT_TRUE(map_.edited_since_undo_point());
  map_.undo(arena_);
  EXPECT_THAT(entries(), ElementsAre("host=first", "set-cookie=a=1", "set-cookie=b=2"));
  EXPECT_THAT(net(), ElementsAre("host=first"));
}

TEST_F(HeaderMapTest, a_copy_knows_what_was_there_before_all_edits) {
  map_.remove("host", arena_);
  map_.add("x", "1", arena_);
  Arena elsewhere;
  HeaderMap copy;
  copy.copy(map_, elsewhere);
  map_.set("x", "2", arena_);
  EXPECT_EQ(copy.original().size(), 3U);
  EXPECT_EQ(copy.first("x"), "1");
  copy.add("host", "example.com", elsewhere);
  map_.take_over(copy, arena_);
  EXPECT_THAT(net(), ElementsAre("x+=1"));
}

TEST_F(HeaderMapTest, a_copy_of_a_map_that_has_not_come_has_not_come) {
  HeaderMap copy;
  copy.copy(map_, arena_);
  EXPECT_TRUE(copy.present());
  copy.copy(HeaderMap(), arena_);
  EXPECT_FALSE(copy.present());
}

TEST_F(HeaderMapTest, the_difference_begins_anew_when_it_has_been_sent) {
  map_.set("x-a", "1", arena_);
  map_.remove("host", arena_);
  map_.mark_sent();
  EXPECT_THAT(net(), IsEmpty());
  EXPECT_FALSE(map_.edited());
  map_.set("x-a", "1", arena_);
  EXPECT_THAT(net(), IsEmpty()) << "the data plane has it";
  map_.add("x-a", "2", arena_);
  EXPECT_THAT(net(), ElementsAre("x-a+=2"));
}

TEST_F(HeaderMapTest, set_replaces_all_values_in_the_place_of_the_first) {
  map_.set("set-cookie", "c=3", arena_);
  EXPECT_THAT(entries(), ElementsAre("host=example.com", "set-cookie=c=3"));
  EXPECT_THAT(net(), ElementsAre("set-cookie=c=3"));
}

TEST_F(HeaderMapTest, setting_what_is_there_already_is_no_change) {
  map_.set("host", "example.com", arena_);
  EXPECT_THAT(net(), IsEmpty());
}

TEST_F(HeaderMapTest, add_appends_to_what_is_there) {
  map_.add("set-cookie", "c=3", arena_);
  EXPECT_THAT(net(), ElementsAre("set-cookie+=c=3"));
}

TEST_F(HeaderMapTest, add_of_an_unseen_name_appends_since_the_data_plane_may_have_withheld_it) {
  map_.add("x-new", "1", arena_);
  map_.add("x-new", "2", arena_);
  EXPECT_THAT(net(), ElementsAre("x-new+=1", "x-new+=2"));
}

TEST_F(HeaderMapTest, set_then_add_of_a_new_name_replaces_first_and_appends_the_rest) {
  map_.set("x-new", "1", arena_);
  map_.add("x-new", "2", arena_);
  EXPECT_THAT(net(), ElementsAre("x-new=1", "x-new+=2"));
}

TEST_F(HeaderMapTest, remove_then_add_replaces) {
  map_.remove("set-cookie", arena_);
  map_.add("set-cookie", "c=3", arena_);
  map_.add("set-cookie", "d=4", arena_);
  EXPECT_THAT(net(), ElementsAre("set-cookie=c=3", "set-cookie+=d=4"));
}

TEST_F(HeaderMapTest, remove_of_an_unseen_name_is_sent) {
  map_.remove("x-hidden", arena_);
  EXPECT_THAT(net(), ElementsAre("-x-hidden"));
}

TEST_F(HeaderMapTest, what_one_removes_and_another_restores_is_no_change) {
  map_.remove("host", arena_);
  map_.add("host", "example.com", arena_);
  EXPECT_THAT(net(), IsEmpty());
}

TEST_F(HeaderMapTest, a_name_never_stands_in_both_lists) {
  map_.set("x", "1", arena_);
  map_.remove("x", arena_);
  map_.set("x", "2", arena_);
  EXPECT_THAT(net(), ElementsAre("x=2"));
}

TEST_F(HeaderMapTest, undo_takes_back_only_what_came_since_the_undo_point) {
  map_.set("kept", "1", arena_);
  map_.begin_undo();
  map_.set("kept", "2", arena_);
  map_.remove("set-cookie", arena_);
  EXPECT_TRUE(map_.edited_since_undo_point());
  map_.undo(arena_);
  EXPECT_THAT(entries(), ElementsAre("host=example.com", "set-cookie=a=1", "set-cookie=b=2", "kept=1"));
  EXPECT_THAT(net(), ElementsAre("kept=1"));
}

TEST_F(HeaderMapTest, undo_of_the_first_edit_leaves_the_map_unedited_and_usable) {
  map_.begin_undo();
  map_.set("x", "1", arena_);
  map_.undo(arena_);
  EXPECT_FALSE(map_.edited());
  map_.begin_undo();
  map_.add("set-cookie", "c=3", arena_);
  EXPECT_THAT(net(), ElementsAre("set-cookie+=c=3"));
}

TEST_F(HeaderMapTest, undo_goes_back_to_each_point_in_turn) {
  for (int round = 0; round < 3; ++round) {
    map_.begin_undo();
    map_.set("kept", std::to_string(round), arena_);
    map_.begin_undo();
    for (int i = 0; i < 50; ++i) map_.add("gone", std::to_string(i), arena_);
    map_.remove("host", arena_);
    map_.undo(arena_);
    EXPECT_THAT(entries(), ElementsAre("host=example.com", "set-cookie=a=1", "set-cookie=b=2",
                                       "kept=" + std::to_string(round)));
  }
  EXPECT_EQ(map_.original().size(), 3U);
  EXPECT_THAT(net(), ElementsAre("kept=2"));
}

TEST_F(HeaderMapTest, a_thousand_headers_and_their_edits_stay_right) {
  HeaderMap map;
  map.begin_original(10, arena_);  // more come than was said
  for (int i = 0; i < 1000; ++i) map.add_original("X-" + std::to_string(i % 500), "old", arena_);
  map.begin_undo();
  for (int i = 0; i < 500; i += 2) map.set("x-" + std::to_string(i), "new", arena_);
  EXPECT_EQ(map.entries().size(), 750U);
  map.undo(arena_);
  EXPECT_EQ(map.entries().size(), 1000U);
  EXPECT_EQ(map.first("x-498"), "old");
  EXPECT_FALSE(map.edited());
}

TEST_F(HeaderMapTest, edits_copy_what_they_are_given) {
  std::string name = "x-name";
  std::string value = "value";
  map_.set(name, value, arena_);
  name.assign(name.size(), '?');
  value.assign(value.size(), '?');
  EXPECT_EQ(map_.first("x-name"), "value");
}

}  // namespace
}  // namespace extprocd::http
