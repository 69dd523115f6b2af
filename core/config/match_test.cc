#include "core/config/match.h"

#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

TextPattern pattern(std::string_view notation) { return TextPattern::parse(notation); }

TEST(TextPatternTest, a_star_at_an_end_stands_for_anything) {
  EXPECT_TRUE(pattern("abc").fits("abc"));
  EXPECT_FALSE(pattern("abc").fits("abcd"));
  EXPECT_TRUE(pattern("ab*").fits("abc"));
  EXPECT_TRUE(pattern("ab*").fits("ab"));
  EXPECT_FALSE(pattern("ab*").fits("a"));
  EXPECT_TRUE(pattern("*bc").fits("abc"));
  EXPECT_FALSE(pattern("*bc").fits("bcd"));
  EXPECT_TRUE(pattern("*").fits(""));
  EXPECT_TRUE(pattern("*").fits("x"));
  EXPECT_FALSE(pattern("a*c").fits("abc"));
  EXPECT_TRUE(pattern("a*c").fits("a*c"));
}

TEST(TextPatternTest, notation_survives_reading) {
  for (const char* notation : {"a", "a*", "*a", "*", "a*b", "**"})
    EXPECT_EQ(pattern(notation).to_string(), notation);
}

// Over all pairs of some patterns and all short words: what covers and overlaps claim must hold, and claims are
// missed only where they may be.
TEST(TextPatternTest, covering_and_overlapping_agree_with_fitting) {
  const char* notations[] = {"a", "b", "ab", "a*", "ab*", "*a", "*b", "*ab", "*"};
  std::vector<std::string> words = {""};
  for (std::size_t i = 0; i < words.size() && words[i].size() < 4; ++i) {
    for (const char c : {'a', 'b'}) words.push_back(words[i] + c);
  }
  for (const char* one : notations) {
    for (const char* other : notations) {
      const TextPattern wide = pattern(one);
      const TextPattern narrow = pattern(other);
      bool all = true;
      bool some = false;
      for (const std::string& word : words) {
        all = all && (!narrow.fits(word) || wide.fits(word));
        some = some || (narrow.fits(word) && wide.fits(word));
      }
      EXPECT_EQ(wide.covers(narrow), all) << one << " covers " << other;
      EXPECT_EQ(wide.overlaps(narrow), some) << one << " overlaps " << other;
    }
  }
}

TEST(RequestMatchTest, a_match_with_fewer_or_wider_conditions_covers) {
  RequestMatch wide;
  wide.path = {{TextPattern::Kind::kPrefix, "/a"}};
  RequestMatch narrow;
  narrow.path = {{TextPattern::Kind::kPrefix, "/a/b"}};
  narrow.method = {pattern("GET")};
  EXPECT_TRUE(wide.covers(narrow));
  EXPECT_FALSE(narrow.covers(wide));
  narrow.path.push_back(pattern("/c"));
  EXPECT_FALSE(wide.covers(narrow));
  wide.path = {};
  wide.header = {{"x", {pattern("1")}}};
  EXPECT_FALSE(wide.covers(narrow));
  narrow.header = {{"x", {pattern("1")}}, {"y", {pattern("*")}}};
  EXPECT_TRUE(wide.covers(narrow));
}

TEST(RequestMatchTest, only_what_a_request_has_once_excludes) {
  RequestMatch a;
  a.path = {{TextPattern::Kind::kPrefix, "/a"}};
  RequestMatch b;
  b.path = {{TextPattern::Kind::kPrefix, "/b"}};
  EXPECT_TRUE(a.excludes(b));
  b.path = {{TextPattern::Kind::kPrefix, "/a/b"}};
  EXPECT_FALSE(a.excludes(b));
  RequestMatch one;
  one.header = {{"x", {pattern("1")}}};
  RequestMatch two;
  two.header = {{"x", {pattern("2")}}};
  EXPECT_FALSE(one.excludes(two));
  EXPECT_FALSE(RequestMatch().excludes(a));
}

}  // namespace
}  // namespace extprocd::config
