// The plugin through its C entry, on a host without a server.

#include <optional>
#include <string>

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc_test::Array;
using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Map;
using extproc_test::Table;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr uint32_t kRequest = EXTPROC_REQUEST_HEADERS;
constexpr uint32_t kResponse = EXTPROC_RESPONSE_HEADERS;

/// One stream of the plugin.
class InstructionsTest : public testing::Test {
 protected:
  void configure(Table config) { host_.emplace(std::move(config)); }

  /// Runs a phase with the given headers; what became of them is in `call_`.
  extproc_action run(Map headers, uint32_t phase = kRequest) {
    if (!host_) host_.emplace();
    if (!driver_) driver_.emplace(*extproc_plugin_entry_v1(), *host_);
    EXPECT_EQ(driver_->created, EXTPROC_OK);
    call_.maps[phase] = std::move(headers);
    return driver_->run(call_, phase);
  }
  const Map& after(uint32_t phase = kRequest) { return call_.maps[phase]; }
  double metric(const std::string& name) { return host_->metrics.at(name).value; }

  std::optional<FakeHost> host_;
  std::optional<Driver> driver_;
  extproc_call call_;
};

std::vector<std::string> mistakes(Table config) {
  FakeHost host(std::move(config));
  const Driver driver(*extproc_plugin_entry_v1(), host);
  EXPECT_EQ(driver.created == EXTPROC_OK, host.errors.empty());
  return host.errors;
}

TEST(InstructionsModule, wants_headers_and_trailers_and_no_bodies) {
  const extproc_plugin& module = *extproc_plugin_entry_v1();
  EXPECT_STREQ(module.id, "extproc.instructions");
  EXPECT_EQ(module.phases,
            EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) |
                EXTPROC_PHASE_BIT(EXTPROC_REQUEST_TRAILERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS));
}

TEST_F(InstructionsTest, sets_and_removes_headers_and_stays_itself) {
  const std::string text =
      R"({"addHeaders":{"header3":"value3","header1":"new"},"removeHeaders":["Header2"]})";
  EXPECT_EQ(run({{"header1", "value1"}, {"header2", "value2"}, {"instructions", text}}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(),
              ElementsAre(Pair("instructions", text), Pair("header3", "value3"), Pair("header1", "new")));
}

TEST_F(InstructionsTest, a_name_that_is_removed_and_set_ends_up_set) {
  run({{"a", "old"}, {"instructions", R"({"addHeaders":{"a":"new"},"removeHeaders":["a","instructions"]})"}});
  EXPECT_THAT(after(), ElementsAre(Pair("a", "new")));
}

TEST_F(InstructionsTest, only_the_first_instructions_count) {
  run({{"instructions", R"({"addHeaders":{"a":"1"}})"}, {"instructions", R"({"addHeaders":{"b":"2"}})"}});
  EXPECT_EQ(after().size(), 3U);
  EXPECT_EQ(after().back(), std::make_pair(std::string("a"), std::string("1")));
}

TEST_F(InstructionsTest, request_and_response_are_independent) {
  EXPECT_EQ(run({{"instructions", R"({"addHeaders":{"a":"1"}})"}}), EXTPROC_CONTINUE);
  EXPECT_EQ(run({{":status", "200"}}, kResponse), EXTPROC_CONTINUE);
  EXPECT_THAT(after(kResponse), ElementsAre(Pair(":status", "200")));
  EXPECT_EQ(
      run({{"instructions", R"({"addHeaders":{"b":"2"},"removeHeaders":["instructions"]})"}}, kResponse),
      EXTPROC_CONTINUE);
  EXPECT_THAT(after(kResponse), ElementsAre(Pair("b", "2")));
}

TEST_F(InstructionsTest, nothing_empty_and_null_ask_for_nothing) {
  for (const char* text : {"", "null", "{}"}) {
    EXPECT_EQ(run({{"instructions", text}}), EXTPROC_CONTINUE) << text;
    EXPECT_THAT(after(), ElementsAre(Pair("instructions", text)));
  }
  EXPECT_EQ(run({}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(), IsEmpty());
  call_.maps.clear();
  EXPECT_EQ(driver_->run(call_, kRequest), EXTPROC_CONTINUE) << "the header map has not come";
}

TEST_F(InstructionsTest, bad_json_is_a_failure_with_the_parsers_message) {
  EXPECT_EQ(run({{"instructions", "invalid json value"}}), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 2U);
  EXPECT_THAT(call_.failure, HasSubstr("instructions are not valid JSON"));
  EXPECT_THAT(call_.failure, HasSubstr("at byte 0"));
}

TEST_F(InstructionsTest, names_that_the_data_plane_refuses_are_left_out_and_counted) {
  call_.refused = {{"host", EXTPROC_FORBIDDEN}, {":path", EXTPROC_FORBIDDEN}};
  EXPECT_EQ(run({{"instructions", R"({"addHeaders":{"host":"evil","ok":"1"},"removeHeaders":[":path"]})"}}),
            EXTPROC_CONTINUE);
  EXPECT_EQ(after().back().first, "ok");
  EXPECT_EQ(metric("forbidden_total"), 2);
}

TEST_F(InstructionsTest, malformed_names_and_values_are_a_failure) {
  for (const extproc_status status : {EXTPROC_INVALID, EXTPROC_LIMIT, EXTPROC_TOO_LATE}) {
    call_.refused = {{"bad", status}};
    EXPECT_EQ(run({{"instructions", R"({"addHeaders":{"bad":"x"}})"}}), EXTPROC_FAIL);
    EXPECT_THAT(call_.failure, HasSubstr("refused by the test"));
    EXPECT_EQ(run({{"instructions", R"({"removeHeaders":["bad"]})"}}), EXTPROC_FAIL);
  }
}

TEST_F(InstructionsTest, a_body_is_replaced_and_called_text) {
  EXPECT_EQ(run({{"content-length", "9"},
                 {"instructions", R"({"setBody":"new","addHeaders":{"content-type":"x/y"}})"}}),
            EXTPROC_CONTINUE);
  EXPECT_EQ(call_.replacement, "new");
  EXPECT_EQ(after().back(), std::make_pair(std::string("content-type"), std::string("text/plain")));
  EXPECT_EQ(after().front(), std::make_pair(std::string("content-length"), std::string("9")));
}

TEST_F(InstructionsTest, a_body_that_cannot_be_replaced_is_a_failure) {
  call_.replace_body_status = EXTPROC_UNSUPPORTED;
  EXPECT_EQ(run({{"instructions", R"({"setBody":"new"})"}}), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "replace the body: unsupported: no body here");
  EXPECT_EQ(run({{"instructions", R"({"setBody":""})"}}), EXTPROC_CONTINUE);
}

TEST_F(InstructionsTest, trailers_are_set_when_those_of_their_direction_come) {
  run({{"instructions", R"({"setTrailers":{"t":"1"}})"}});
  run({{"instructions", R"({"setTrailers":{"u":"2"}})"}}, kResponse);
  EXPECT_EQ(run({{"old", "x"}}, EXTPROC_RESPONSE_TRAILERS), EXTPROC_CONTINUE);
  EXPECT_THAT(after(EXTPROC_RESPONSE_TRAILERS), ElementsAre(Pair("old", "x"), Pair("u", "2")));
  EXPECT_EQ(run({}, EXTPROC_REQUEST_TRAILERS), EXTPROC_CONTINUE);
  EXPECT_THAT(after(EXTPROC_REQUEST_TRAILERS), ElementsAre(Pair("t", "1")));
}

TEST_F(InstructionsTest, the_header_can_have_another_name_and_be_stripped) {
  configure({{"header", "X-Do"}, {"strip", true}});
  EXPECT_EQ(run({{"x-do", R"({"addHeaders":{"a":"1"}})"}, {"x-do", "again"}, {"instructions", "{"}}),
            EXTPROC_CONTINUE);
  EXPECT_THAT(after(), ElementsAre(Pair("instructions", "{"), Pair("a", "1")));
  EXPECT_EQ(run({{"x-do", ""}}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(), IsEmpty());
}

TEST_F(InstructionsTest, configured_headers_are_set_on_every_request_after_the_instructions) {
  configure({{"add_request_headers", Array{"x-a:true", "x-b: spaced:colon", "x-a:last"}}});
  EXPECT_EQ(run({{"x-a", "client"}}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(), ElementsAre(Pair("x-b", " spaced:colon"), Pair("x-a", "last")));
  EXPECT_EQ(
      run({{"instructions", R"({"addHeaders":{"x-a":"mine"},"removeHeaders":["x-b","instructions"]})"}}),
      EXTPROC_CONTINUE);
  EXPECT_THAT(after(), ElementsAre(Pair("x-b", " spaced:colon"), Pair("x-a", "last")));
  EXPECT_EQ(run({}, kResponse), EXTPROC_CONTINUE);
  EXPECT_THAT(after(kResponse), IsEmpty());
}

TEST_F(InstructionsTest, configured_headers_can_be_a_table) {
  configure({{"add_request_headers", Table{{"x-a", "1"}, {":path", "/p"}}}});
  call_.refused = {{":path", EXTPROC_FORBIDDEN}};
  EXPECT_EQ(run({}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(), ElementsAre(Pair("x-a", "1")));
  EXPECT_EQ(metric("forbidden_total"), 1);
}

TEST_F(InstructionsTest, allow_and_deny_bound_what_instructions_touch) {
  configure({{"allow", Array{"X-*", "accept"}}, {"deny", Array{"x-secret*"}}});
  const std::string text =
      R"({"addHeaders":{"X-A":"1","x-secret-1":"2","other":"3"},"removeHeaders":["Accept","cookie"],"setTrailers":{"t":"1","x-t":"2"}})";
  EXPECT_EQ(run({{"accept", "a"}, {"cookie", "c"}, {"instructions", text}}), EXTPROC_CONTINUE);
  EXPECT_THAT(after(), ElementsAre(Pair("cookie", "c"), Pair("instructions", text), Pair("x-a", "1")));
  EXPECT_EQ(metric("denied_total"), 3);
  run({}, EXTPROC_REQUEST_TRAILERS);
  EXPECT_THAT(after(EXTPROC_REQUEST_TRAILERS), ElementsAre(Pair("x-t", "2")));
  EXPECT_EQ(metric("denied_total"), 4);
}

TEST_F(InstructionsTest, a_value_over_max_bytes_is_a_failure) {
  configure({{"max_bytes", 10}});
  EXPECT_EQ(run({{"instructions", R"({"x":"12"})"}}), EXTPROC_CONTINUE);
  EXPECT_EQ(run({{"instructions", R"({"x":"123"})"}}), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 8U);
  EXPECT_EQ(call_.failure, "instructions of 11 bytes; max_bytes is 10");
}

TEST(InstructionsConfig, mistakes_are_all_named) {
  EXPECT_THAT(mistakes({}), IsEmpty());
  EXPECT_THAT(
      mistakes({{"header", "a b"},
                {"strip", "yes"},
                {"max_bytes", "much"},
                {"add_request_headers", Array{"no-colon", ":x", "b d:1"}},
                {"allow", Array{"a*b"}},
                {"deny", Array{""}}}),
      ElementsAre(HasSubstr("'strip' must be true or false"),
                  HasSubstr("'max_bytes' must be a number of bytes"), HasSubstr("not \"no-colon\""),
                  HasSubstr("not \":x\""), HasSubstr("'b d' is not a header name"), HasSubstr("not \"a*b\""),
                  HasSubstr("'deny': must have names"), HasSubstr("'a b' is not a header name")));
}

}  // namespace
