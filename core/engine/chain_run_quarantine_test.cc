#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using config::FailurePolicy;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

/// Streams, one after the other or side by side, that call a plugin which fails while `fails` is set.
class ChainRunQuarantineTest : public EngineFixture {
 protected:
  /// Two failures within ten seconds put it aside for thirty.
  static config::Quarantine rule(FailurePolicy policy) {
    config::Quarantine rule;
    rule.failures = 2;
    rule.window = 10;
    rule.duration = 30;
    rule.policy = policy;
    return rule;
  }

  ScriptedPlugin& add(FailurePolicy policy, const std::vector<uint32_t>& phases = {EXTPROC_REQUEST_HEADERS},
                      BodyOptions body = {}, FailurePolicy on_error = FailurePolicy::kFail) {
    body.quarantine = rule(policy);
    ScriptedPlugin& plugin = add_plugin("p", phases, on_error, nullptr, nullptr, body);
    plugin.on_phase = [this](auto...) -> extproc_action {
      ++calls_;
      return fails_ ? EXTPROC_FAIL : EXTPROC_CONTINUE;
    };
    return plugin;
  }

  /// Ends the stream that is there; the next message begins another, so much later.
  void next_stream(Duration later = {}) {
    const auto time = sink_.time + later;
    stream_.reset();
    sink_ = {};
    sink_.time = time;
    calls_ = 0;
  }
  /// Leads a stream through its messages to its end. The calls of the plugin that it made.
  int stream_calls(const std::vector<std::string>& messages = {"request_headers {}"}) {
    calls_ = 0;
    for (const std::string& message : messages) send(message);
    stream_.reset();
    return calls_;
  }
  static ProcessingRequest request(const std::string& text) {
    ProcessingRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    return request;
  }
  /// Puts the plugin aside.
  void fail_twice(const std::vector<std::string>& messages = {"request_headers {}"}) {
    fails_ = true;
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(stream_calls(messages), 1);
      next_stream();
    }
    fails_ = false;
  }

  bool fails_ = false;
  int calls_ = 0;
};

constexpr auto* kDenied =
    R"(immediate_response { status { code: ServiceUnavailable } details: "extproc_p_quarantined" })";

constexpr auto* kBuffered = "request_headers {} protocol_config { request_body_mode: BUFFERED }";
constexpr auto* kFullDuplex =
    "request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED }";

TEST_F(ChainRunQuarantineTest, deny_answers_streams_that_would_call_the_plugin) {
  add(FailurePolicy::kDeny);
  fail_twice();
  EXPECT_EQ(stream_calls(), 0);
  expect_replies({kDenied});
}

TEST_F(ChainRunQuarantineTest, deny_ends_the_stream_where_no_reply_is_possible) {
  add(FailurePolicy::kDeny, {EXTPROC_RESPONSE_TRAILERS});
  fail_twice({"response_trailers {}"});
  EXPECT_EQ(stream_calls({"response_trailers {}"}), 0);
  expect_replies({});
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("'p'"));
}

TEST_F(ChainRunQuarantineTest, skip_leaves_it_out_and_the_others_run) {
  add(FailurePolicy::kSkip);
  int others = 0;
  add_plugin("other", {EXTPROC_REQUEST_HEADERS}).on_phase = [&](auto...) {
    ++others;
    return EXTPROC_CONTINUE;
  };
  fail_twice();
  EXPECT_EQ(stream_calls(), 0);
  EXPECT_EQ(others, 1);
  expect_replies({"request_headers {}"});
}

TEST_F(ChainRunQuarantineTest, failures_count_whatever_their_policy_made_of_them) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_HEADERS}, {}, FailurePolicy::kSkip);
  fail_twice();
  EXPECT_EQ(stream_calls(), 0);
  expect_replies({kDenied});
}

TEST_F(ChainRunQuarantineTest, timeouts_count) {
  BodyOptions options;
  options.timeouts.fill(0.02);
  auto& plugin = add(FailurePolicy::kDeny, {EXTPROC_REQUEST_HEADERS}, options);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    ++calls_;
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    return EXTPROC_SUSPEND;
  };
  for (int i = 0; i < 2; ++i) {
    send("request_headers {}");
    advance(milliseconds(20));
    EXPECT_EQ(sink_.status->code(), absl::StatusCode::kDeadlineExceeded);
    next_stream();
  }
  EXPECT_EQ(stream_calls(), 0);
}

TEST_F(ChainRunQuarantineTest, what_the_data_plane_is_to_blame_for_does_not) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_BODY}, {.access = EXTPROC_ACCESS_WHOLE, .most = 3});
  for (int i = 0; i < 4; ++i) {  // a mode in which no body can be had whole, and one that is too large
    send("request_headers {} protocol_config { request_body_mode: GRPC }");
    EXPECT_EQ(sink_.status->code(), absl::StatusCode::kFailedPrecondition);
    next_stream();
    send(kBuffered);
    send(R"(request_body { body: "abcdef" end_of_stream: true })");
    EXPECT_EQ(sink_.replies.back().immediate_response().status().code(), 413);
    next_stream();
  }
  EXPECT_EQ(stream_calls({kBuffered, R"(request_body { body: "abc" end_of_stream: true })"}), 1);
}

TEST_F(ChainRunQuarantineTest, streams_that_have_begun_with_it_go_on) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  RecordingSink sink;
  Stream begun(generation_, sink, {}, 1);
  const std::string headers = request("request_headers {}").SerializeAsString();
  begun.receive(Message::borrow(headers));
  fail_twice();
  const std::string response = request("response_headers {}").SerializeAsString();
  begun.receive(Message::borrow(response));
  EXPECT_EQ(sink.replies.size(), 2U);
  EXPECT_FALSE(sink.status);
}

TEST_F(ChainRunQuarantineTest, one_stream_tries_it_again_and_its_end_decides) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  fail_twice();
  next_stream(seconds(30));
  send("request_headers {}");
  EXPECT_EQ(calls_, 1);
  EXPECT_TRUE(plugins_[0].host->quarantine().suspects());
  send("response_headers {}");
  stream().half_closed();
  EXPECT_FALSE(plugins_[0].host->quarantine().suspects());
  next_stream();
  EXPECT_EQ(stream_calls(), 1);
}

TEST_F(ChainRunQuarantineTest, a_trial_that_fails_late_puts_it_aside_again) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  fail_twice();
  next_stream(seconds(30));
  send("request_headers {}");
  fails_ = true;
  send("response_headers {}");
  next_stream(seconds(29));
  EXPECT_EQ(stream_calls(), 0);
  expect_replies({kDenied});
}

TEST_F(ChainRunQuarantineTest, a_body_that_must_be_whole_is_not_held_for_it) {
  add(FailurePolicy::kDeny, {EXTPROC_REQUEST_BODY}, {.access = EXTPROC_ACCESS_WHOLE});
  fail_twice({kBuffered, R"(request_body { body: "abc" end_of_stream: true })"});
  send(kFullDuplex);
  sink_.replies.clear();
  send(R"(request_body { body: "abc" })");
  expect_replies({kDenied});
  EXPECT_EQ(metrics_.held_bytes.value(), 0);
}

TEST_F(ChainRunQuarantineTest, with_skip_a_body_passes_as_it_came) {
  add(FailurePolicy::kSkip, {EXTPROC_REQUEST_BODY}, {.access = EXTPROC_ACCESS_STREAM});
  fail_twice({kFullDuplex, R"(request_body { body: "abc" })"});
  send(kFullDuplex);
  sink_.replies.clear();
  send(R"(request_body { body: "abc" })");
  expect_replies({R"(request_body { response { body_mutation { streamed_response { body: "abc" } } } })"});
  EXPECT_EQ(calls_, 0);
}

TEST_F(ChainRunQuarantineTest, streams_are_counted_by_what_became_of_them) {
  add(FailurePolicy::kDeny);
  fail_twice();
  for (int i = 0; i < 3; ++i) {
    stream_calls();
    next_stream();
  }
  const auto counter = [&](const std::string& policy) {
    return registry_
        .counter("extproc_plugin_quarantined_streams_total", "", {{"plugin", "p"}, {"policy", policy}})
        .value();
  };
  EXPECT_EQ(counter("deny"), 3U);
  EXPECT_EQ(counter("fail"), 0U);
}

}  // namespace
}  // namespace extprocd::engine
