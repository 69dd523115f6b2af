// Plugins that wait: how a stream stands still meanwhile, until when, and how it goes on.

#include <chrono>
#include <functional>
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
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kHeaders =
    "request_headers { headers { headers { key: 'a' raw_value: '1' } } end_of_stream: true }";
const std::string kPlainHeaders = "request_headers {}";
const std::string kModes = "protocol_config { request_body_mode: ";

class SuspensionTest : public EngineFixture {
 protected:
  ~SuspensionTest() override { stream_.reset(); }  // its end is an event

  /// A plugin that suspends in every phase, and then does what `on_resumed` says.
  ScriptedPlugin& add_waiter(const std::vector<uint32_t>& phases,
                             FailurePolicy on_error = FailurePolicy::kFail, BodyOptions options = {}) {
    auto& plugin =
        add_plugin("p" + std::to_string(plugins_.size()), phases, on_error, nullptr, nullptr, options);
    plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) { return suspend(plugin, call); };
    plugin.on_cancelled = [&](extproc_call*, uint32_t reason) {
      events_.push_back(reason == EXTPROC_CANCEL_TIMEOUT ? "timeout" : "over");
    };
    plugin.on_end = [&](extproc_call*, const extproc_stream_end&) { events_.push_back("end"); };
    return plugin;
  }
  extproc_action suspend(const ScriptedPlugin& plugin, extproc_call* call) {
    EXPECT_EQ(plugin.async().suspend(call, &handle_), EXTPROC_OK);
    return EXTPROC_SUSPEND;
  }
  static void set(const ScriptedPlugin& plugin, extproc_call* call, std::string_view name,
                  std::string_view value, uint32_t map = EXTPROC_REQUEST_HEADERS) {
    EXPECT_EQ(plugin.api().header_set(call, map, abi(name), abi(value)), EXTPROC_OK);
  }
  static const extproc_body_api& edits(const ScriptedPlugin& plugin) {
    return *static_cast<const extproc_body_api*>(plugin.api().get_extension(&plugin.api(), EXTPROC_BODY_1));
  }
  static std::string body_of(const ScriptedPlugin& plugin, extproc_call* call) {
    const extproc_str* slices = nullptr;
    size_t count = 0;
    EXPECT_EQ(plugin.api().body(call, &slices, &count), EXTPROC_OK);
    std::string all;
    for (size_t i = 0; i < count; ++i) all += std::string(slices[i].data, slices[i].size);
    return all;
  }
  void resume(const ScriptedPlugin& plugin, uint64_t token = 0) {
    EXPECT_EQ(plugin.resume(handle_, token), EXTPROC_OK);
    run_posted();
  }
  static config::PhaseTimeouts timeouts(double seconds) {
    config::PhaseTimeouts all;
    all.fill(seconds);
    return all;
  }
  uint64_t waits(const ScriptedPlugin& plugin, telemetry::WaitResult result) {
    return plugin.host->metrics().waits[static_cast<std::size_t>(result)]->value();
  }
  void expect_nobody_waits() {
    EXPECT_EQ(metrics_.waiting.value(), 0);
    EXPECT_EQ(metrics_.held_bytes.value(), 0);
    for (const auto& plugin : plugins_) EXPECT_EQ(plugin.host->metrics().waiting->value(), 0);
  }

  extproc_resume_handle handle_ = 0;
  std::vector<std::string> events_;
};

const std::vector<uint32_t> kRequest = {EXTPROC_REQUEST_HEADERS};

TEST_F(SuspensionTest, edits_from_before_and_after_the_wait_go_out_together) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    set(plugin, call, "before", "1");
    return suspend(plugin, call);
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t phase, uint64_t token) -> extproc_action {
    EXPECT_EQ(phase, EXTPROC_REQUEST_HEADERS);
    EXPECT_EQ(token, 99U);
    set(plugin, call, "after", "2");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  EXPECT_TRUE(sink_.paused);
  expect_replies({});
  EXPECT_EQ(metrics_.waiting.value(), 1);
  EXPECT_EQ(plugin.host->metrics().waiting->value(), 1);
  resume(plugin, 99);
  EXPECT_FALSE(sink_.paused);
  expect_replies(
      {"request_headers { response { header_mutation {"
       "  set_headers { header { key: 'before' raw_value: '1' } append { value: false } append_action: "
       "OVERWRITE_IF_EXISTS_OR_ADD }"
       "  set_headers { header { key: 'after' raw_value: '2' } append { value: false } append_action: "
       "OVERWRITE_IF_EXISTS_OR_ADD } } } }"});
  EXPECT_EQ(waits(plugin, telemetry::WaitResult::kResumed), 1U);
  expect_nobody_waits();
}

TEST_F(SuspensionTest, later_plugins_run_when_the_one_before_them_has_answered) {
  const std::vector<uint32_t> both = {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS};
  auto& first = add_plugin("first", both);
  auto& second = add_waiter(both);
  auto& third = add_plugin("third", both);
  const auto note = [&](const std::string& name) {
    return [this, name](auto...) -> extproc_action {
      events_.push_back(name);
      return EXTPROC_CONTINUE;
    };
  };
  first.on_phase = note("first");
  second.on_resumed = note("second");
  third.on_phase = note("third");
  send(kPlainHeaders);
  EXPECT_THAT(events_, ElementsAre("first"));
  resume(second);
  EXPECT_THAT(events_, ElementsAre("first", "second", "third"));
  events_.clear();
  send("response_headers {}");
  EXPECT_THAT(events_, ElementsAre("third"));
  resume(second);
  EXPECT_THAT(events_, ElementsAre("third", "second", "first"));
  expect_replies({"request_headers {}", "response_headers {}"});
}

TEST_F(SuspensionTest, who_resumes_before_the_callback_has_returned_is_not_lost) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    const auto action = suspend(plugin, call);
    EXPECT_EQ(plugin.resume(handle_), EXTPROC_OK);
    return action;
  };
  send(kHeaders);
  expect_replies({});
  run_posted();
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, a_resume_that_comes_twice_or_late_is_told_and_counted) {
  auto& plugin = add_waiter(kRequest);
  send(kHeaders);
  EXPECT_EQ(plugin.async().is_waiting(&plugin.api(), handle_), 1U);
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_OK);
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
  EXPECT_EQ(plugin.async().is_waiting(&plugin.api(), handle_), 0U);
  run_posted();
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
  stream().half_closed();
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
  EXPECT_EQ(plugin.resume(12345), EXTPROC_NOT_FOUND);
  run_posted();
  EXPECT_EQ(value_of(*plugin.host->metrics().ignored_resumes), 4);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, on_resumed_may_wait_again) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t token) -> extproc_action {
    return token == 0 ? suspend(plugin, call) : EXTPROC_CONTINUE;
  };
  send(kHeaders);
  const auto first = handle_;
  resume(plugin);
  EXPECT_NE(handle_, first);
  EXPECT_EQ(plugin.resume(first), EXTPROC_NOT_FOUND);
  EXPECT_TRUE(sink_.paused);
  expect_replies({});
  resume(plugin, 1);
  expect_replies({"request_headers {}"});
  expect_nobody_waits();
}

TEST_F(SuspensionTest, on_resumed_may_reply) {
  auto& plugin = add_waiter(kRequest);
  auto& later = add_plugin("later", kRequest);
  later.on_phase = [](auto...) -> extproc_action {
    ADD_FAILURE() << "called behind a reply";
    return EXTPROC_CONTINUE;
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t) -> extproc_action {
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  send(kHeaders);
  resume(plugin);
  expect_replies({"immediate_response { status { code: Forbidden } }"});
  stream().half_closed();
  EXPECT_TRUE(sink_.status->ok());
  expect_nobody_waits();
}

TEST_F(SuspensionTest, a_reply_prepared_before_the_wait_can_be_sent_after_it) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 503;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return suspend(plugin, call);
  };
  plugin.on_resumed = [](auto...) -> extproc_action { return EXTPROC_REPLY; };
  send(kHeaders);
  resume(plugin);
  expect_replies({"immediate_response { status { code: ServiceUnavailable } }"});
}

TEST_F(SuspensionTest, a_failure_after_the_wait_undoes_what_was_done_before_it) {
  auto& plugin = add_waiter(kRequest, FailurePolicy::kSkip);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    set(plugin, call, "before", "1");
    return suspend(plugin, call);
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t) -> extproc_action {
    set(plugin, call, "after", "2");
    return EXTPROC_FAIL;
  };
  send(kHeaders);
  resume(plugin);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, the_timeout_of_a_plugin_is_a_failure_by_its_policy) {
  uint64_t timed_out = 0;  // the metrics of one name are the same ones
  for (const auto policy : {FailurePolicy::kFail, FailurePolicy::kDeny, FailurePolicy::kSkip}) {
    begin_anew();
    plugins_.clear();
    events_.clear();
    auto& plugin = add_waiter(kRequest, policy, {.timeouts = timeouts(0.02)});
    plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
      set(plugin, call, "before", "1");
      return suspend(plugin, call);
    };
    send(kHeaders);
    advance(milliseconds(19));
    expect_replies({});
    EXPECT_THAT(events_, IsEmpty());
    advance(milliseconds(1));
    if (policy == FailurePolicy::kFail) {
      ASSERT_TRUE(sink_.status);
      EXPECT_EQ(*sink_.status, absl::DeadlineExceededError("did not answer within 20ms"));
      EXPECT_THAT(events_, ElementsAre("timeout", "end"));
    } else if (policy == FailurePolicy::kDeny) {
      expect_replies(
          {"immediate_response { status { code: ServiceUnavailable } details: 'extproc_p0_failed' }"});
      EXPECT_THAT(events_, ElementsAre("timeout", "end"));
    } else {
      expect_replies({"request_headers {}"});
      EXPECT_THAT(events_, ElementsAre("timeout"));
      EXPECT_FALSE(sink_.paused);
    }
    EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
    EXPECT_EQ(waits(plugin, telemetry::WaitResult::kTimeout), ++timed_out);
    expect_nobody_waits();
  }
}

TEST_F(SuspensionTest, the_timeout_counts_from_the_first_callback_of_the_phase) {
  auto& plugin = add_waiter(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t) { return suspend(plugin, call); };
  send(kHeaders);
  advance(milliseconds(15));
  resume(plugin);
  advance(milliseconds(4));
  expect_replies({});
  advance(milliseconds(1));
  expect_replies({"request_headers {}"});
  EXPECT_THAT(events_, ElementsAre("timeout"));
}

TEST_F(SuspensionTest, a_resume_on_its_way_when_the_time_is_over_does_nothing) {
  auto& plugin = add_waiter(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_resumed = [](auto...) -> extproc_action {
    ADD_FAILURE() << "resumed after the end";
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_OK);
  advance(milliseconds(20));
  run_posted();
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, a_resume_on_its_way_when_the_time_is_over_does_not_wake_the_next_plugin) {
  auto& first = add_waiter(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  auto& second = add_waiter(kRequest);
  second.on_resumed = [&](extproc_call*, uint32_t, uint64_t token) -> extproc_action {
    EXPECT_EQ(token, 2U);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  EXPECT_EQ(first.resume(handle_, 1), EXTPROC_OK);
  const auto of_first = handle_;
  advance(milliseconds(20));
  EXPECT_EQ(handle_, of_first)
      << "plugins' handles are told apart by their numbers alone: this test shows nothing";
  run_posted();
  expect_replies({});
  resume(second, 2);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, a_callback_that_returns_too_late_fails_the_same_way) {
  auto& plugin =
      add_plugin("slow", kRequest, FailurePolicy::kSkip, nullptr, nullptr, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    set(plugin, call, "x", "1");
    sink_.time += milliseconds(21);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  expect_replies({"request_headers {}"});
  const auto& calls = plugin.host->metrics().calls[EXTPROC_REQUEST_HEADERS];
  EXPECT_EQ(value_of(*calls[static_cast<std::size_t>(telemetry::CallResult::kTimeout)]), 1);
  EXPECT_EQ(value_of(*plugin.host->metrics().mutations[EXTPROC_REQUEST_HEADERS]), 0);
}

TEST_F(SuspensionTest, the_deadline_of_the_chain_counts_from_the_messages_coming) {
  begin_anew({}, milliseconds(150));
  auto& first = add_plugin("first", kRequest);
  first.on_phase = [&](auto...) -> extproc_action {
    sink_.time += milliseconds(100);
    return EXTPROC_CONTINUE;
  };
  auto& plugin = add_waiter(kRequest, FailurePolicy::kFail, {.timeouts = timeouts(1)});
  send(kHeaders);
  advance(milliseconds(49));
  EXPECT_FALSE(sink_.status);
  advance(milliseconds(1));
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(*sink_.status, absl::DeadlineExceededError("did not answer before the chain's deadline, 150ms"));
  EXPECT_THAT(events_, ElementsAre("timeout", "end"));
  EXPECT_EQ(waits(plugin, telemetry::WaitResult::kTimeout), 1U);
}

TEST_F(SuspensionTest, behind_a_deadline_that_has_passed_nobody_waits_long) {
  begin_anew({}, milliseconds(150));
  add_waiter(kRequest, FailurePolicy::kSkip);
  add_waiter(kRequest, FailurePolicy::kSkip);
  send(kHeaders);
  advance(milliseconds(150));
  EXPECT_THAT(events_, ElementsAre("timeout", "timeout"));
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, cancellation_is_told_at_once_and_the_end_once) {
  auto& plugin = add_waiter(kRequest);
  send(kHeaders);
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_OK);
  stream().cancelled(Cancel::kPeer);
  EXPECT_THAT(events_, ElementsAre("over", "end"));
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
  stream_.reset();
  EXPECT_THAT(events_, ElementsAre("over", "end"));
  EXPECT_EQ(waits(plugin, telemetry::WaitResult::kCancelled), 1U);
  expect_nobody_waits();
}

TEST_F(SuspensionTest, headers_can_be_read_but_not_changed_when_it_comes_to_nothing) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_cancelled = [&](extproc_call* call, uint32_t) {
    extproc_str value{};
    EXPECT_EQ(plugin.api().header_get(call, EXTPROC_REQUEST_HEADERS, abi("a"), &value), EXTPROC_OK);
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("a"), abi("2")), EXTPROC_TOO_LATE);
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_UNSUPPORTED);
    events_.push_back("seen");
  };
  send(kHeaders);
  stream().cancelled(Cancel::kShutdown);
  EXPECT_THAT(events_, ElementsAre("seen", "end"));
}

TEST_F(SuspensionTest, a_body_is_there_again_after_the_wait_in_every_mode) {
  for (const std::string mode : {"STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"}) {
    begin_anew();
    plugins_.clear();
    auto& plugin =
        add_waiter({EXTPROC_REQUEST_BODY}, FailurePolicy::kFail, {.access = EXTPROC_ACCESS_EDIT_CHUNK});
    plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
      EXPECT_EQ(edits(plugin).write(call, abi("<")), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).forward(call, 2), EXTPROC_OK);
      return suspend(plugin, call);
    };
    plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t) -> extproc_action {
      EXPECT_EQ(body_of(plugin, call), "hello");
      EXPECT_EQ(edits(plugin).write(call, abi("|")), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).drop(call, 1), EXTPROC_OK);
      return EXTPROC_CONTINUE;
    };
    auto& next = add_plugin("next", {EXTPROC_REQUEST_BODY}, FailurePolicy::kFail, nullptr, nullptr,
                            {.access = EXTPROC_ACCESS_OBSERVE});
    std::string seen;
    next.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
      seen = body_of(next, call);
      return EXTPROC_CONTINUE;
    };
    send("request_headers {} " + kModes + mode + " }");
    send("request_body { body: 'hello' end_of_stream: true }");
    EXPECT_GT(metrics_.held_bytes.value(), 0) << mode;
    resume(plugin);
    EXPECT_EQ(seen, "<he|lo") << mode;
    ASSERT_EQ(sink_.replies.size(), 2U) << mode;
    const auto& mutation = sink_.replies[1].request_body().response().body_mutation();
    EXPECT_EQ(mode == "FULL_DUPLEX_STREAMED" ? mutation.streamed_response().body() : mutation.body(),
              "<he|lo")
        << mode;
    expect_nobody_waits();
  }
}

TEST_F(SuspensionTest, a_body_that_nobody_touched_goes_on_as_it_came) {
  auto& plugin = add_waiter({EXTPROC_REQUEST_BODY}, FailurePolicy::kSkip,
                            {.access = EXTPROC_ACCESS_STREAM, .timeouts = timeouts(0.02)});
  send("request_headers {} " + kModes + "FULL_DUPLEX_STREAMED }");
  send("request_body { body: 'hello' }");
  resume(plugin);
  send("request_body { body: 'world' end_of_stream: true }");
  advance(milliseconds(20));
  expect_replies({"request_headers {}",
                  "request_body { response { body_mutation { streamed_response { body: 'hello' } } } }",
                  "request_body { response { body_mutation { streamed_response { body: 'world' "
                  "end_of_stream: true } } } }"});
  EXPECT_THAT(events_, ElementsAre("timeout"));
}

TEST_F(SuspensionTest, what_was_held_before_a_wait_that_fails_goes_on_too) {
  auto& plugin = add_waiter({EXTPROC_REQUEST_BODY}, FailurePolicy::kSkip,
                            {.access = EXTPROC_ACCESS_STREAM, .timeouts = timeouts(0.02)});
  plugin.on_resumed = [](auto...) -> extproc_action { return EXTPROC_HOLD; };
  send("request_headers {} " + kModes + "FULL_DUPLEX_STREAMED }");
  send("request_body { body: 'a' }");
  resume(plugin);
  send("request_body { body: 'b' end_of_stream: true }");
  advance(milliseconds(20));
  std::string all;
  for (const auto& reply : sink_.replies)
    all += reply.request_body().response().body_mutation().streamed_response().body();
  EXPECT_EQ(all, "ab");
  expect_nobody_waits();
}

TEST_F(SuspensionTest, the_end_of_a_body_that_trailers_tell_can_wait_and_then_the_trailers) {
  auto& plugin = add_waiter({EXTPROC_REQUEST_BODY, EXTPROC_REQUEST_TRAILERS}, FailurePolicy::kFail,
                            {.access = EXTPROC_ACCESS_STREAM});
  plugin.on_resumed = [&](extproc_call* call, uint32_t phase, uint64_t) -> extproc_action {
    if (phase == EXTPROC_REQUEST_TRAILERS) set(plugin, call, "t", "1", EXTPROC_REQUEST_TRAILERS);
    if (phase == EXTPROC_REQUEST_BODY && body_of(plugin, call).empty()) {
      EXPECT_EQ(edits(plugin).write(call, abi("end")), EXTPROC_OK);
    }
    return EXTPROC_CONTINUE;
  };
  send("request_headers {} " + kModes + "FULL_DUPLEX_STREAMED }");
  send("request_body { body: 'a' }");
  resume(plugin);
  send("request_trailers { trailers {} }");
  expect_replies({"request_headers {}",
                  "request_body { response { body_mutation { streamed_response { body: 'a' } } } }"});
  resume(plugin);
  EXPECT_TRUE(sink_.paused);
  expect_replies({"request_body { response { body_mutation { streamed_response { body: 'end' } } } }"});
  resume(plugin);
  EXPECT_FALSE(sink_.paused);
  expect_replies(
      {"request_trailers { header_mutation { set_headers { header { key: 't' raw_value: '1' }"
       " append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD } } }"});
}

TEST_F(SuspensionTest, nothing_waits_where_there_is_nobody_to_come_back) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY});
  const auto refused = [&](extproc_call* call) {
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_UNSUPPORTED);
    EXPECT_EQ(handle, 0U);
    events_.emplace_back("refused");
    return EXTPROC_CONTINUE;
  };
  plugin.on_begin = refused;
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    return phase == EXTPROC_LOCAL_REPLY ? refused(call) : EXTPROC_CONTINUE;
  };
  plugin.on_end = [&](extproc_call* call, const extproc_stream_end&) { refused(call); };
  add_plugin("denier", kRequest, FailurePolicy::kDeny).on_phase = [](auto...) -> extproc_action {
    return EXTPROC_FAIL;
  };
  send(kHeaders);
  EXPECT_THAT(events_, ElementsAre("refused", "refused", "refused"));
}

TEST_F(SuspensionTest, a_plugin_without_on_resumed_cannot_wait) {
  auto& plugin = add_plugin("old", kRequest);
  plugin.descriptor.struct_size = offsetof(extproc_plugin, may_block);
  begin_anew();
  default_chain().add(plugin.descriptor, &plugin, *plugin.host, {});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_UNSUPPORTED);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, a_handle_that_is_not_used_is_worth_nothing) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    suspend(plugin, call);
    extproc_resume_handle second = 0;
    EXPECT_EQ(plugin.async().suspend(call, &second), EXTPROC_LIMIT);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  expect_replies({"request_headers {}"});
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);
}

TEST_F(SuspensionTest, to_suspend_without_a_handle_is_a_failure) {
  auto& plugin = add_waiter(kRequest);
  plugin.on_phase = [](auto...) -> extproc_action { return EXTPROC_SUSPEND; };
  send(kHeaders);
  ASSERT_TRUE(sink_.status);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("without a handle"));
}

TEST_F(SuspensionTest, a_timer_resumes_unless_somebody_did_before) {
  auto& plugin = add_waiter(kRequest);
  std::vector<uint64_t> tokens;
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(plugin.async().resume_after(call, 1, 5, 5), EXTPROC_INVALID);
    const auto action = suspend(plugin, call);
    EXPECT_EQ(plugin.async().resume_after(call, handle_, 10'000'000, 5), EXTPROC_OK);
    EXPECT_EQ(plugin.async().resume_after(call, handle_, 10'000'000, 6), EXTPROC_LIMIT);
    return action;
  };
  plugin.on_resumed = [&](extproc_call*, uint32_t, uint64_t token) -> extproc_action {
    tokens.push_back(token);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  advance(milliseconds(9));
  EXPECT_THAT(tokens, IsEmpty());
  advance(milliseconds(1));
  EXPECT_THAT(tokens, ElementsAre(5));
  EXPECT_EQ(plugin.resume(handle_), EXTPROC_NOT_FOUND);

  stream_.reset();
  send(kHeaders);
  EXPECT_EQ(plugin.resume(handle_, 1), EXTPROC_OK);
  advance(milliseconds(10));
  run_posted();
  EXPECT_THAT(tokens, ElementsAre(5, 1));
}

TEST_F(SuspensionTest, a_timer_behind_the_timeout_does_not_help) {
  auto& plugin = add_waiter(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    const auto action = suspend(plugin, call);
    EXPECT_EQ(plugin.async().resume_after(call, handle_, 30'000'000, 5), EXTPROC_OK);
    return action;
  };
  send(kHeaders);
  advance(milliseconds(100));
  EXPECT_THAT(events_, ElementsAre("timeout"));
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, the_data_plane_is_asked_to_wait_as_long_as_the_chain_may) {
  config::DataPlane data_plane;
  data_plane.message_timeout = 0.2;
  data_plane.max_message_timeout = 1;
  begin_anew(data_plane, milliseconds(900));
  auto& plugin = add_waiter(kRequest);
  send(kHeaders);
  advance(milliseconds(99));
  expect_replies({});
  advance(milliseconds(1));
  expect_replies({"override_message_timeout { nanos: 820000000 }"});
  EXPECT_EQ(value_of(metrics_.timeouts_extended), 1);
  advance(milliseconds(799));
  expect_replies({});
  resume(plugin);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, the_data_plane_is_not_asked_where_that_would_be_no_use) {
  config::DataPlane data_plane;
  data_plane.message_timeout = 0.2;
  data_plane.max_message_timeout = 1;
  for (const std::string& first : {"request_headers {} " + kModes + "FULL_DUPLEX_STREAMED }",
                                   std::string("request_headers {} observability_mode: true")}) {
    begin_anew(data_plane, milliseconds(900));
    plugins_.clear();
    add_waiter(kRequest);
    send(first);
    advance(milliseconds(899));
    expect_replies({});
  }
  begin_anew(data_plane, milliseconds(180));
  plugins_.clear();
  add_waiter(kRequest);
  send(kHeaders);
  advance(milliseconds(179));
  expect_replies({});
}

TEST_F(SuspensionTest, time_that_a_plugin_asks_for_is_asked_for_when_it_begins_to_wait) {
  config::DataPlane data_plane;
  data_plane.message_timeout = 0.2;
  data_plane.max_message_timeout = 1;
  begin_anew(data_plane, milliseconds(900));
  auto& plugin = add_waiter(kRequest);
  const auto ask = [&](extproc_call* call, uint64_t millis) {
    const auto* control =
        static_cast<const extproc_control_api*>(plugin.api().get_extension(&plugin.api(), EXTPROC_CONTROL_1));
    return control->extend_timeout(call, millis);
  };
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(ask(call, 500), EXTPROC_OK);
    return suspend(plugin, call);
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t) -> extproc_action {
    EXPECT_EQ(ask(call, 500), EXTPROC_LIMIT);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  expect_replies({"override_message_timeout { nanos: 500000000 }"});
  advance(milliseconds(300));
  expect_replies({});
  resume(plugin);
  expect_replies({"request_headers {}"});
}

TEST_F(SuspensionTest, a_shadow_waits_too_and_sends_nothing) {
  auto& plugin = add_waiter(kRequest, FailurePolicy::kFail, {.timeouts = timeouts(0.02)});
  send("request_headers {} observability_mode: true");
  EXPECT_TRUE(sink_.paused);
  resume(plugin);
  EXPECT_FALSE(sink_.paused);
  expect_replies({});
  EXPECT_FALSE(sink_.status);
}

TEST_F(SuspensionTest, a_stream_ends_early_after_a_wait_as_without_one) {
  auto& plugin = add_waiter(kRequest);
  send("request_headers {} protocol_config {}");
  EXPECT_FALSE(sink_.status);
  resume(plugin);
  expect_replies({"request_headers {}"});
  ASSERT_TRUE(sink_.status);
  EXPECT_TRUE(sink_.status->ok());
  EXPECT_THAT(events_, ElementsAre("end"));
}

TEST_F(SuspensionTest, headers_held_for_the_body_may_be_decided_in_a_wait) {
  auto& plugin = add_waiter({EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY}, FailurePolicy::kFail,
                            {.access = EXTPROC_ACCESS_STREAM});
  plugin.on_resumed = [&](extproc_call* call, uint32_t phase, uint64_t) -> extproc_action {
    if (phase == EXTPROC_REQUEST_HEADERS) return EXTPROC_HOLD;
    set(plugin, call, "x", "1");
    return EXTPROC_CONTINUE;
  };
  send("request_headers {} " + kModes + "FULL_DUPLEX_STREAMED }");
  resume(plugin);
  expect_replies({});
  send("request_body { body: 'a' end_of_stream: true }");
  resume(plugin);
  ASSERT_EQ(sink_.replies.size(), 2U);
  EXPECT_EQ(sink_.replies[0].request_headers().response().header_mutation().set_headers(0).header().key(),
            "x");
  EXPECT_EQ(sink_.replies[1].request_body().response().body_mutation().streamed_response().body(), "a");
}

}  // namespace
}  // namespace extprocd::engine
