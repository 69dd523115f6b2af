// The word is replaced wherever it is cut, and no more is held back than its beginning.

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Table;

std::string replaced(std::string text, const std::string& word, const std::string& by) {
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + by.size()))
    text.replace(at, word.size(), by);
  return text;
}

class StreamRewriter : public testing::TestWithParam<uint32_t> {
 protected:
  /// The text that comes out when `text` comes in these pieces.
  static std::string rewritten(const std::vector<std::string>& pieces, const std::string& word,
                               const std::string& by) {
    FakeHost host(Table{{"word", word.c_str()}, {"replacement", by.c_str()}});
    Driver driver(*extproc_plugin_entry_v1(), host);
    extproc_call call;
    for (const std::string& piece : pieces) {
      EXPECT_NE(driver.body(call, GetParam(), piece), EXTPROC_FAIL) << call.failure;
      size_t held = 0;
      for (const std::string& slice : call.body) held += slice.size();
      EXPECT_LT(held, word.size());
    }
    EXPECT_EQ(driver.body(call, GetParam(), "", EXTPROC_END_OF_BODY), EXTPROC_CONTINUE);
    return call.sent_text();
  }
};

INSTANTIATE_TEST_SUITE_P(Direction, StreamRewriter,
                         testing::Values(EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY));

TEST_P(StreamRewriter, finds_the_word_however_the_text_is_cut) {
  const std::string texts[] = {"one blue, two blue", "blublue", "blueblue", "bl", "", "no", "ends with blu"};
  for (const std::string& text : texts) {
    for (size_t first = 0; first <= text.size(); ++first) {
      for (size_t second = first; second <= text.size(); ++second) {
        const std::vector<std::string> pieces = {text.substr(0, first), text.substr(first, second - first),
                                                 text.substr(second)};
        EXPECT_EQ(rewritten(pieces, "blue", "red"), replaced(text, "blue", "red")) << first << " " << second;
      }
    }
  }
}

TEST_P(StreamRewriter, finds_words_that_begin_anew_within_themselves) {
  EXPECT_EQ(rewritten({"aa", "aab", "a"}, "aab", "x"), "aaxa");
  EXPECT_EQ(rewritten({"abab", "abac", "ab"}, "abac", ""), "ababab");
  EXPECT_EQ(rewritten({"a", "b", "c"}, "b", "bb"), "abbc");
}

TEST_P(StreamRewriter, lets_go_at_once_what_cannot_be_the_word) {
  FakeHost host(Table{{"word", "blue"}});
  Driver driver(*extproc_plugin_entry_v1(), host);
  extproc_call call;
  EXPECT_EQ(driver.body(call, GetParam(), "a blu"), EXTPROC_HOLD);
  EXPECT_EQ(call.sent_text(), "a ");
  EXPECT_EQ(driver.body(call, GetParam(), "b"), EXTPROC_HOLD);
  EXPECT_EQ(call.sent_text(), "a blu");
  EXPECT_EQ(driver.body(call, GetParam(), "!"), EXTPROC_CONTINUE);
  EXPECT_EQ(call.sent_text(), "a blub!");
}

TEST(StreamRewriterPlugin, wants_text_and_a_word) {
  const extproc_plugin& module = *extproc_plugin_entry_v1();
  EXPECT_EQ(module.request_body_access, EXTPROC_ACCESS_STREAM);
  EXPECT_EQ(module.response_body_access, EXTPROC_ACCESS_STREAM);
  EXPECT_STREQ(module.request_body_types[0], "text");
  EXPECT_STREQ(module.response_body_types[0], "text");
  FakeHost without, empty(Table{{"word", ""}});
  EXPECT_NE(Driver(module, without).created, EXTPROC_OK);
  EXPECT_NE(Driver(module, empty).created, EXTPROC_OK);
  EXPECT_EQ(empty.errors.size(), 1U);
}

}  // namespace
