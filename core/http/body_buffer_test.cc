#include "core/http/body_buffer.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::http {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> texts(const BodyBuffer& buffer) {
  std::vector<std::string> all;
  for (const extproc_str& slice : buffer.slices()) all.emplace_back(slice.data, slice.size);
  return all;
}

TEST(BodyBuffer, empty_slices_exist_only_as_messages) {
  BodyBuffer bytes;
  bytes.add_borrowed("");
  bytes.add_copy("");
  EXPECT_TRUE(bytes.empty());
  BodyBuffer messages(true);
  messages.add_borrowed("");
  EXPECT_FALSE(messages.empty());
  EXPECT_EQ(messages.size(), 0U);
}

TEST(BodyBuffer, a_part_of_another_shares_what_that_one_owns) {
  BodyBuffer part;
  {
    BodyBuffer whole;
    whole.add_copy("abc");
    whole.add_copy("def");
    whole.add_copy("ghi");
    part.add_between(whole, whole.advance({}, 2), whole.advance({}, 7));
  }
  EXPECT_THAT(texts(part), ElementsAre("c", "def", "g"));
  EXPECT_EQ(part.size(), 5U);
}

TEST(BodyBuffer, a_place_at_a_slice_s_end_takes_nothing_of_the_next) {
  BodyBuffer whole;
  whole.add_copy("abc");
  whole.add_copy("def");
  const auto place = whole.advance({}, 3);
  EXPECT_EQ(place.slice, 1U);
  EXPECT_EQ(whole.size_from(place), 3U);
  BodyBuffer part;
  part.add_between(whole, {}, place);
  EXPECT_THAT(texts(part), ElementsAre("abc"));
}

TEST(BodyBuffer, places_behind_the_end_are_the_end) {
  BodyBuffer whole;
  whole.add_copy("abc");
  EXPECT_EQ(whole.advance({}, static_cast<std::size_t>(-1)).slice, 1U);
  EXPECT_EQ(whole.size_from(whole.end()), 0U);
  EXPECT_EQ(whole.advance(whole.end(), 5).slice, 1U);
}

TEST(BodyBuffer, empty_messages_are_passed_one_by_one_or_with_all) {
  BodyBuffer messages(true);
  messages.add_borrowed("");
  messages.add_borrowed("");
  messages.add_borrowed("ab");
  messages.add_borrowed("");
  EXPECT_EQ(messages.advance({}, 0).slice, 1U);
  EXPECT_EQ(messages.advance({}, 2).slice, 3U);
  EXPECT_EQ(messages.advance({}, 3).slice, 4U);
  BodyBuffer part(true);
  part.add_between(messages, {}, messages.advance({}, 2));
  EXPECT_THAT(texts(part), ElementsAre("", "", "ab"));
}

TEST(BodyBuffer, what_is_owned_outlives_what_it_was_borrowed_from) {
  BodyBuffer buffer;
  {
    std::string message = "a message that is gone soon, longer than any small string";
    buffer.add_borrowed(message);
    buffer.own();
    message.assign(message.size(), 'x');
  }
  EXPECT_THAT(texts(buffer), ElementsAre("a message that is gone soon, longer than any small string"));
}

TEST(BodyBuffer, is_shared_whole) {
  BodyBuffer shared;
  {
    BodyBuffer messages(true);
    messages.add_copy("abc");
    messages.add_borrowed("", true);
    messages.own();
    shared = messages.share();
    messages.add_copy("more");
  }
  EXPECT_THAT(texts(shared), ElementsAre("abc", ""));
  EXPECT_EQ(shared.size(), 3U);
  EXPECT_TRUE(shared.of_messages());
  EXPECT_TRUE(shared.compressed(1));
}

TEST(BodyBuffer, is_joined_into_one_view) {
  BodyBuffer buffer;
  EXPECT_EQ(buffer.joined(), "");
  buffer.add_borrowed("ab");
  const char* const borrowed = buffer.slices()[0].data;
  EXPECT_EQ(buffer.joined().data(), borrowed);
  buffer.add_copy("cd");
  EXPECT_EQ(buffer.joined(), "abcd");
  EXPECT_EQ(buffer.slices().size(), 1U);
  EXPECT_EQ(buffer.size(), 4U);
}

TEST(BodyBuffer, takes_another_over) {
  BodyBuffer one;
  BodyBuffer two;
  two.add_copy("ab");
  one.add(std::move(two));
  BodyBuffer three;
  three.add_copy("cd");
  one.add(std::move(three));
  EXPECT_THAT(texts(one), ElementsAre("ab", "cd"));
  EXPECT_EQ(one.size(), 4U);
  one.clear();
  EXPECT_THAT(texts(one), IsEmpty());
  EXPECT_EQ(one.size(), 0U);
}

}  // namespace
}  // namespace extprocd::http
