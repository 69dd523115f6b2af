// Secrets leave the JSON both ways, and what is no JSON does not pass.

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

class JsonRedactor : public testing::TestWithParam<uint32_t> {
 protected:
  /// What goes on of a body; the status of the reply if it does not.
  std::string redacted(const std::string& body) {
    extproc_call call;
    const extproc_action action = driver_.body(call, GetParam(), body, EXTPROC_END_OF_BODY);
    if (action == EXTPROC_REPLY) return std::to_string(call.replied);
    EXPECT_EQ(action, EXTPROC_CONTINUE) << call.failure;
    return call.sent_text();
  }

  std::string refused() { return GetParam() == EXTPROC_REQUEST_BODY ? "400" : "502"; }

  FakeHost host_{Table{{"keys", Array{"password", "card"}}, {"mask", "-"}}};
  Driver driver_{*extproc_plugin_entry_v1(), host_};
};

INSTANTIATE_TEST_SUITE_P(Direction, JsonRedactor,
                         testing::Values(EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY));

TEST_P(JsonRedactor, replaces_values_at_any_depth_whatever_they_are) {
  EXPECT_EQ(redacted(R"({"user":"u","password":"p"})"), R"({"user":"u","password":"-"})");
  EXPECT_EQ(redacted(R"([{"a":{"card":{"n":1,"password":2}}},{"card":[1]},{"password":null}])"),
            R"([{"a":{"card":"-"}},{"card":"-"},{"password":"-"}])");
}

TEST_P(JsonRedactor, replaces_every_value_of_a_key_that_is_there_twice) {
  EXPECT_EQ(redacted(R"({"password":"a","password":"b"})"), R"({"password":"-"})");
  EXPECT_EQ(redacted(R"({"pass\u0077ord":"a"})"), R"({"password":"-"})");
}

TEST_P(JsonRedactor, keeps_order_numbers_and_text_of_the_rest) {
  EXPECT_EQ(redacted(R"({"z":0.1,"a":18446744073709551615,"card":0,"m":"é\n","e":1e3,"t":true})"),
            R"({"z":0.1,"a":18446744073709551615,"card":"-","m":"é\n","e":1000.0,"t":true})");
}

TEST_P(JsonRedactor, leaves_a_body_without_the_keys_byte_for_byte) {
  for (const char* body : {"", "{ \"user\" : 1.50 }\n", "[]", "\"password\"", "3"})
    EXPECT_EQ(redacted(body), body);
}

TEST_P(JsonRedactor, refuses_what_is_not_json) {
  for (const char* body :
       {"{\"password\":\"p\"", "password=p", "{} {}", "\x1f\x8b", "{\"password\":\"\xff\"}"}) {
    EXPECT_EQ(redacted(body), refused()) << body;
  }
  EXPECT_EQ(redacted(std::string(200, '[') + std::string(200, ']')), refused());
  EXPECT_EQ(redacted(std::string(1'000'000, '[')), refused());
}

TEST(JsonRedactorPlugin, wants_whole_json_bodies_and_answers_that_can_be_read) {
  const extproc_plugin& module = *extproc_plugin_entry_v1();
  EXPECT_EQ(module.request_body_access, EXTPROC_ACCESS_WHOLE);
  EXPECT_EQ(module.response_body_access, EXTPROC_ACCESS_WHOLE);
  EXPECT_STREQ(module.request_body_types[0], "application/json");
  EXPECT_STREQ(module.response_body_types[0], "application/json");
  FakeHost host(Table{{"keys", Array{"password"}}});
  Driver driver(module, host);
  extproc_call call;
  call.maps[EXTPROC_REQUEST_HEADERS] = {{"accept-encoding", "gzip"}, {"a", "b"}};
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
  EXPECT_EQ(call.maps[EXTPROC_REQUEST_HEADERS], (Map{{"a", "b"}}));
}

TEST(JsonRedactorPlugin, needs_keys) {
  FakeHost host;
  EXPECT_NE(Driver(*extproc_plugin_entry_v1(), host).created, EXTPROC_OK);
  EXPECT_THAT(host.errors, ElementsAre("option 'keys': must name at least one key at table"));
}

}  // namespace
