#include "core/engine/overload.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using config::FailurePolicy;
using telemetry::OverloadLimit;
using testing::HasSubstr;

class OverloadTest : public EngineFixture {
 protected:
  config::Overload& rule() { return generation_->config.server.overload; }

  /// Beside the stream of the test, one more is open than may be.
  void overload(FailurePolicy policy) {
    rule().max_streams = 1;
    rule().policy = policy;
    metrics_.streams_active.begin();
  }

  uint64_t count(OverloadLimit limit, FailurePolicy policy) {
    return metrics_.overload_streams[static_cast<std::size_t>(limit)][static_cast<std::size_t>(policy)]
        ->value();
  }

  /// A plugin that must not be called.
  ScriptedPlugin& add_uncalled_plugin() {
    auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS});
    plugin.on_begin = [](extproc_call*) {
      ADD_FAILURE() << "the plugin was called";
      return EXTPROC_CONTINUE;
    };
    return plugin;
  }
};

TEST_F(OverloadTest, nothing_is_too_much_where_no_limit_is_set) {
  for (int i = 0; i < 100; ++i) metrics_.streams_active.begin();
  metrics_.held_bytes.set(1e15);
  for (int i = 0; i < 100; ++i) metrics_.waiting.begin();
  EXPECT_EQ(exceeded_limit(rule(), metrics_), std::nullopt);
}

TEST_F(OverloadTest, so_many_streams_as_the_limit_says_are_open_at_once) {
  rule().max_streams = 2;
  metrics_.streams_active.begin();
  metrics_.streams_active.begin();  // the one that asks
  EXPECT_EQ(exceeded_limit(rule(), metrics_), std::nullopt);
  metrics_.streams_active.begin();
  EXPECT_EQ(exceeded_limit(rule(), metrics_), OverloadLimit::kStreams);
  metrics_.streams_active.end();
  EXPECT_EQ(exceeded_limit(rule(), metrics_), std::nullopt);
}

TEST_F(OverloadTest, held_bytes_and_waiting_callbacks_leave_no_room_when_their_limit_is_reached) {
  rule().max_held_bytes = 1000;
  rule().max_waiting = 1;
  metrics_.held_bytes.set(999);
  EXPECT_EQ(exceeded_limit(rule(), metrics_), std::nullopt);
  metrics_.held_bytes.set(1000);
  EXPECT_EQ(exceeded_limit(rule(), metrics_), OverloadLimit::kHeldBytes);
  metrics_.held_bytes.set(0);
  metrics_.waiting.begin();
  EXPECT_EQ(exceeded_limit(rule(), metrics_), OverloadLimit::kWaiting);
}

TEST_F(OverloadTest, fail_ends_the_stream_with_the_key_that_is_reached) {
  add_uncalled_plugin();
  overload(FailurePolicy::kFail);
  send("request_headers {}");
  expect_replies({});
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("server.overload.max_streams, 1, is reached"));
  EXPECT_EQ(count(OverloadLimit::kStreams, FailurePolicy::kFail), 1U);
}

TEST_F(OverloadTest, deny_answers_the_client_with_its_status) {
  add_uncalled_plugin();
  overload(FailurePolicy::kDeny);
  send("request_headers {}");
  expect_replies(
      {R"(immediate_response { status { code: ServiceUnavailable } details: "extproc_overload" })"});
  EXPECT_EQ(count(OverloadLimit::kStreams, FailurePolicy::kDeny), 1U);
}

TEST_F(OverloadTest, deny_is_fail_where_no_reply_can_reach_the_client) {
  overload(FailurePolicy::kDeny);
  send("response_trailers {}");
  expect_replies({});
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(count(OverloadLimit::kStreams, FailurePolicy::kFail), 1U);
}

TEST_F(OverloadTest, skip_lets_everything_pass) {
  add_uncalled_plugin();
  overload(FailurePolicy::kSkip);
  send("request_headers {}");
  send("request_body { end_of_stream: true }");
  send("response_headers {}");
  expect_replies({"request_headers {}", "request_body {}", "response_headers {}"});
  EXPECT_FALSE(sink_.status);
  EXPECT_EQ(count(OverloadLimit::kStreams, FailurePolicy::kSkip), 1U);
}

TEST_F(OverloadTest, skip_echoes_in_full_duplex_and_ends_early_where_that_loses_nothing) {
  overload(FailurePolicy::kSkip);
  send(R"(request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED })");
  send(R"(request_body { body: "abc" })");
  expect_replies({"request_headers {}",
                  R"(request_body { response { body_mutation { streamed_response { body: "abc" } } } })"});
  stream_.reset();
  sink_ = {};
  send("request_headers {} protocol_config { request_body_mode: BUFFERED }");
  expect_replies({"request_headers {}"});
  EXPECT_EQ(*sink_.status, absl::OkStatus());
}

TEST_F(OverloadTest, a_shadow_ends_well_whatever_the_policy) {
  overload(FailurePolicy::kFail);
  send("request_headers {} observability_mode: true");
  expect_replies({});
  EXPECT_EQ(*sink_.status, absl::OkStatus());
}

TEST_F(OverloadTest, a_stream_that_has_begun_goes_on) {
  int calls = 0;
  add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS}).on_phase = [&](auto...) {
    ++calls;
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  overload(FailurePolicy::kFail);
  send("response_headers {}");
  expect_replies({"request_headers {}", "response_headers {}"});
  EXPECT_EQ(calls, 2);
  EXPECT_FALSE(sink_.status);
}

}  // namespace
}  // namespace extprocd::engine
