// Plugins that may block: their callbacks run on workers, on copies, and the stream neither waits longer than it may nor
// minds what they do then.

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
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
const std::string kModes = "protocol_config { request_body_mode: ";
const std::vector<uint32_t> kRequest = {EXTPROC_REQUEST_HEADERS};

std::string set_header(const std::string& name, const std::string& value) {
  return "set_headers { header { key: '" + name + "' raw_value: '" + value +
         "' } append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD }";
}
std::string with_header(const std::string& name, const std::string& value) {
  return "request_headers { response { header_mutation { " + set_header(name, value) + " } } }";
}

/// Where a callback is kept until the test lets it go.
class Gate {
 public:
  /// In the callback.
  void pass() {
    entered_.set_value();
    open_.wait();
  }
  void wait_until_entered() { is_entered_.wait(); }
  void open() { opens_.set_value(); }

 private:
  std::promise<void> entered_;
  std::promise<void> opens_;
  std::future<void> is_entered_ = entered_.get_future();
  std::future<void> open_ = opens_.get_future();
};

class BlockingTest : public EngineFixture {
 protected:
  BlockingTest() { use_workers(2, 8); }
  ~BlockingTest() override {
    stream_.reset();
    workers_.reset();
  }
  void use_workers(uint32_t threads, uint32_t max_queue) {
    workers_ = std::make_unique<WorkerPool>(config::Workers{threads, max_queue}, registry_);
  }

  ScriptedPlugin& add_blocker(const std::vector<uint32_t>& phases,
                              FailurePolicy on_error = FailurePolicy::kFail, BodyOptions options = {}) {
    options.workers = workers_.get();
    auto& plugin =
        add_plugin("p" + std::to_string(plugins_.size()), phases, on_error, nullptr, nullptr, options);
    plugin.on_begin = [&](extproc_call*) -> extproc_action {
      note("begin");
      return EXTPROC_CONTINUE;
    };
    plugin.on_cancelled = [&](extproc_call*, uint32_t reason) {
      note(reason == EXTPROC_CANCEL_TIMEOUT ? "timeout" : "over");
    };
    plugin.on_end = [&](extproc_call*, const extproc_stream_end&) { note("end"); };
    return plugin;
  }

  void note(std::string event) {
    EXPECT_NE(std::this_thread::get_id(), thread_) << event << " on the stream's thread";
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  /// Waits for the worker whose callback the stream waits for, and goes on with the stream.
  void go_on() {
    EXPECT_TRUE(sink_.paused);
    sink_.executor_->wait();
    run_posted();
  }
  /// The same until the stream stands still no more, however often it waits.
  void go_on_to_the_end() {
    while (sink_.paused && !sink_.status) go_on();
  }
  /// What was noted, when the workers have done all that they had to do.
  std::vector<std::string> all_events() {
    workers_.reset();
    return events_;
  }
  void set(const ScriptedPlugin& plugin, extproc_call* call, std::string_view name, std::string_view value) {
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi(name), abi(value)), EXTPROC_OK);
  }
  static std::string get(const ScriptedPlugin& plugin, extproc_call* call, std::string_view name) {
    extproc_str value{};
    plugin.api().header_get(call, EXTPROC_REQUEST_HEADERS, abi(name), &value);
    return {value.data, value.size};
  }
  template <typename Api>
  static const Api& extension(const ScriptedPlugin& plugin, const char* name) {
    return *static_cast<const Api*>(plugin.api().get_extension(&plugin.api(), name));
  }
  static const extproc_body_api& edits(const ScriptedPlugin& plugin) {
    return extension<extproc_body_api>(plugin, EXTPROC_BODY_1);
  }
  static std::string body_of(const ScriptedPlugin& plugin, extproc_call* call) {
    const extproc_str* slices = nullptr;
    size_t count = 0;
    EXPECT_EQ(plugin.api().body(call, &slices, &count), EXTPROC_OK);
    std::string all;
    for (size_t i = 0; i < count; ++i) all += std::string(slices[i].data, slices[i].size);
    return all;
  }
  static void reply(const ScriptedPlugin& plugin, extproc_call* call, uint32_t status) {
    const extproc_header header = {abi("x-why"), abi("because")};
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = status;
    reply.headers = &header;
    reply.headers_count = 1;
    reply.body = abi("no");
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
  }
  static config::PhaseTimeouts timeouts(double seconds) {
    config::PhaseTimeouts all;
    all.fill(seconds);
    return all;
  }
  void expect_nobody_waits() {
    EXPECT_EQ(metrics_.waiting.value(), 0);
    EXPECT_EQ(metrics_.held_bytes.value(), 0);
    for (const auto& plugin : plugins_) EXPECT_EQ(plugin.host->metrics().waiting->value(), 0);
  }

  std::unique_ptr<WorkerPool> workers_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::vector<std::string> events_;
};

TEST_F(BlockingTest, what_a_callback_changed_goes_out_when_it_has_returned) {
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    note("phase");
    EXPECT_EQ(get(plugin, call, "a"), "1");
    set(plugin, call, "a", "1");
    set(plugin, call, "x", "2");
    EXPECT_EQ(extension<extproc_metadata_api>(plugin, EXTPROC_METADATA_1)
                  .set_string(call, abi("n"), abi("k"), abi("v")),
              EXTPROC_OK);
    EXPECT_EQ(plugin.api().clear_route_cache(call), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  EXPECT_EQ(metrics_.waiting.value(), 1);
  expect_replies({});
  go_on();
  EXPECT_FALSE(sink_.paused);
  expect_replies(
      {"request_headers { response { clear_route_cache: true header_mutation { " + set_header("x", "2") +
       " } } } dynamic_metadata { fields { key: 'n' value { struct_value { fields { key: 'k' value "
       "{ string_value: 'v' } } } } } }"});
  expect_nobody_waits();
  stream().half_closed();
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "end"));
  const auto& metrics = plugin.host->metrics();
  const auto mutated = static_cast<std::size_t>(telemetry::CallResult::kMutated);
  EXPECT_EQ(metrics.calls[EXTPROC_REQUEST_HEADERS][mutated]->value(), 1U);
  EXPECT_EQ(metrics.mutations[EXTPROC_REQUEST_HEADERS]->value(), 1U);
}

TEST_F(BlockingTest, others_see_what_it_did_and_it_what_others_did) {
  const auto store = [](const ScriptedPlugin& plugin) -> const extproc_store_api& {
    return extension<extproc_store_api>(plugin, EXTPROC_STORE_1);
  };
  auto& first = add_plugin("first", kRequest);
  auto& second = add_blocker(kRequest);
  auto& third = add_plugin("third", kRequest);
  first.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    set(first, call, "x", "1");
    EXPECT_EQ(store(first).set(call, abi("k"), abi("v1")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  second.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(get(second, call, "x"), "1");
    extproc_str value{};
    EXPECT_EQ(store(second).get(call, abi("k"), &value), EXTPROC_OK);
    EXPECT_EQ(std::string(value.data, value.size), "v1");
    set(second, call, "x", "2");
    EXPECT_EQ(store(second).set(call, abi("k"), abi("v2")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  third.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(get(third, call, "x"), "2");
    extproc_str value{};
    EXPECT_EQ(store(third).get(call, abi("k"), &value), EXTPROC_OK);
    EXPECT_EQ(std::string(value.data, value.size), "v2");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  go_on();
  expect_replies({with_header("x", "2")});
}

TEST_F(BlockingTest, state_and_facts_are_the_same_in_every_callback) {
  auto& plugin = add_blocker({EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  struct State {
    const extproc_stream_facts* facts;
    uint64_t calls;
  };
  plugin.descriptor.stream_begin = [](void*, void* state, extproc_call*,
                                      const extproc_stream_facts* facts) -> extproc_action {
    new (state) State{facts, 0};
    return EXTPROC_CONTINUE;
  };
  plugin.descriptor.on_phase = [](void* instance, void* state, extproc_call* call, uint32_t,
                                  uint32_t) -> extproc_action {
    auto& self = *static_cast<State*>(state);
    const auto& api = static_cast<ScriptedPlugin*>(instance)->api();
    EXPECT_EQ(api.facts(call), self.facts);
    EXPECT_EQ(std::string(self.facts->peer.data, self.facts->peer.size), "ipv4:127.0.0.1:4711");
    EXPECT_EQ(self.facts->metadata_count, 1U);
    EXPECT_EQ(std::string(self.facts->metadata[0].value.data, self.facts->metadata[0].value.size), "acme");
    ++self.calls;
    return EXTPROC_CONTINUE;
  };
  plugin.descriptor.stream_end = [](void* instance, void* state, extproc_call*, const extproc_stream_end*) {
    const auto& self = *static_cast<State*>(state);
    EXPECT_EQ(self.facts->id, 42U);
    EXPECT_EQ(self.calls, 2U);
    static_cast<ScriptedPlugin*>(instance)->on_end(nullptr, {});
  };
  static_assert(sizeof(State) <= 24);
  send(kHeaders);
  go_on();
  send("response_headers {}");
  go_on();
  stream_.reset();  // before stream_end has run, perhaps
  EXPECT_THAT(all_events(), ElementsAre("end"));
}

TEST_F(BlockingTest, a_body_is_edited_in_every_mode) {
  for (const std::string mode : {"STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"}) {
    begin_anew();
    auto& plugin =
        add_blocker({EXTPROC_REQUEST_BODY}, FailurePolicy::kFail, {.access = EXTPROC_ACCESS_EDIT_CHUNK});
    plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
      EXPECT_EQ(body_of(plugin, call), "abcd");
      EXPECT_EQ(edits(plugin).write(call, abi("<")), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).forward(call, 2), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).drop(call, 1), EXTPROC_OK);
      return EXTPROC_CONTINUE;
    };
    send(kModes + mode + " } request_body { body: 'abcd' end_of_stream: true }");
    go_on();
    if (mode == "FULL_DUPLEX_STREAMED") {
      expect_replies(
          {"request_body { response { body_mutation { streamed_response { body: '<abd' "
           "end_of_stream: true } } } }"});
    } else {
      expect_replies({"request_body { response { body_mutation { body: '<abd' } } }"});
    }
    expect_nobody_waits();
  }
}

TEST_F(BlockingTest, a_body_that_is_only_observed_goes_on_as_it_came) {
  auto& plugin =
      add_blocker({EXTPROC_REQUEST_BODY}, FailurePolicy::kFail, {.access = EXTPROC_ACCESS_OBSERVE});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(body_of(plugin, call), "abcd");
    EXPECT_EQ(edits(plugin).write(call, abi("x")), EXTPROC_UNSUPPORTED);
    return EXTPROC_CONTINUE;
  };
  send(kModes + "FULL_DUPLEX_STREAMED } request_body { body: 'abcd' end_of_stream: true }");
  go_on();
  expect_replies(
      {"request_body { response { body_mutation { streamed_response { body: 'abcd' end_of_stream: true "
       "} } } }"});
}

TEST_F(BlockingTest, a_body_may_be_held_from_piece_to_piece) {
  auto& plugin = add_blocker({EXTPROC_REQUEST_BODY}, FailurePolicy::kFail, {.access = EXTPROC_ACCESS_STREAM});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t flags) -> extproc_action {
    if ((flags & EXTPROC_END_OF_BODY) == 0) {
      EXPECT_EQ(edits(plugin).forward(call, 1), EXTPROC_OK);
      return EXTPROC_HOLD;
    }
    EXPECT_EQ(body_of(plugin, call), "bcde");
    return EXTPROC_CONTINUE;
  };
  send(kModes + "FULL_DUPLEX_STREAMED } request_body { body: 'abc' }");
  go_on();
  expect_replies({"request_body { response { body_mutation { streamed_response { body: 'a' } } } }"});
  send("request_body { body: 'de' end_of_stream: true }");
  go_on();
  expect_replies(
      {"request_body { response { body_mutation { streamed_response { body: 'bcde' end_of_stream: "
       "true } } } }"});
  expect_nobody_waits();
}

TEST_F(BlockingTest, it_may_replace_a_body_from_the_headers) {
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(plugin.api().replace_body(call, abi("new")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  go_on();
  ASSERT_EQ(sink_.replies.size(), 1U);
  EXPECT_EQ(sink_.replies[0].request_headers().response().body_mutation().body(), "new");
}

TEST_F(BlockingTest, it_may_reply) {
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    reply(plugin, call, 403);
    return EXTPROC_REPLY;
  };
  send(kHeaders);
  go_on();
  expect_replies({"immediate_response { status { code: Forbidden } body: 'no' headers { " +
                  set_header("x-why", "because") + " } }"});
  EXPECT_THAT(all_events(), ElementsAre("begin", "end"));
}

TEST_F(BlockingTest, a_reply_in_pieces_is_complete_when_the_callback_returns) {
  config::DataPlane data_plane;
  data_plane.streamed_immediate_response = true;
  begin_anew(data_plane);
  auto& plugin = add_blocker({EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY}, FailurePolicy::kFail,
                             {.access = EXTPROC_ACCESS_OBSERVE});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    EXPECT_EQ(phase, EXTPROC_REQUEST_HEADERS);
    const auto& api = extension<extproc_streamed_reply_api>(plugin, EXTPROC_STREAMED_REPLY_1);
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 200;
    reply.grpc_status = -1;
    reply.body = abi("a");
    EXPECT_EQ(api.begin(call, &reply), EXTPROC_OK);
    EXPECT_EQ(api.write(call, abi("b")), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  send(kModes + "FULL_DUPLEX_STREAMED } request_headers {}");
  go_on();
  ASSERT_FALSE(sink_.replies.empty());
  EXPECT_THAT(described(), HasSubstr("end_of_stream: true"));
  sink_.replies.clear();
  send("request_body { body: 'x' end_of_stream: true }");
  expect_replies({});
}

TEST_F(BlockingTest, a_failure_undoes_what_it_changed) {
  for (const bool throws : {false, true}) {
    begin_anew();
    auto& plugin = add_blocker(kRequest, FailurePolicy::kSkip);
    plugin.on_phase = [&plugin, this, throws](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
      set(plugin, call, "x", "1");
      if (throws) throw std::runtime_error("out");
      return EXTPROC_FAIL;
    };
    send(kHeaders);
    go_on();
    expect_replies({"request_headers {}"});
  }
}

TEST_F(BlockingTest, who_fails_to_begin_gets_no_other_call) {
  auto& plugin = add_blocker(kRequest, FailurePolicy::kDeny);
  plugin.on_begin = [&](extproc_call*) -> extproc_action {
    note("begin");
    return EXTPROC_FAIL;
  };
  plugin.on_phase = [&](auto...) -> extproc_action {
    note("phase");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  go_on();
  expect_replies({"immediate_response { status { code: ServiceUnavailable } details: 'extproc_p0_failed' }"});
  EXPECT_THAT(all_events(), ElementsAre("begin"));
}

TEST_F(BlockingTest, is_not_asked_about_another_plugins_reply) {
  auto& plugin = add_blocker({EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY});
  plugin.on_phase = [&](extproc_call*, uint32_t phase, uint32_t) -> extproc_action {
    note("phase " + std::to_string(phase));
    return EXTPROC_CONTINUE;
  };
  auto& denier = add_plugin("denier", kRequest);
  denier.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    reply(denier, call, 403);
    return EXTPROC_REPLY;
  };
  send(kHeaders);
  go_on();
  EXPECT_EQ(sink_.replies.size(), 1U);
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase 0", "end"));
}

TEST_F(BlockingTest, the_stream_goes_on_when_the_time_of_a_callback_that_is_still_inside_is_over) {
  for (const auto policy : {FailurePolicy::kFail, FailurePolicy::kDeny, FailurePolicy::kSkip}) {
    for (const bool of_body : {false, true}) {
      begin_anew();
      use_workers(2, 8);
      events_.clear();
      Gate gate;
      const uint32_t phase = of_body ? EXTPROC_REQUEST_BODY : EXTPROC_REQUEST_HEADERS;
      auto& plugin = add_blocker(
          {phase}, policy,
          {.access = of_body ? EXTPROC_ACCESS_STREAM : EXTPROC_ACCESS_NONE, .timeouts = timeouts(0.02)});
      plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
        const std::string before = of_body ? body_of(plugin, call) : get(plugin, call, "a");
        gate.pass();
        // The stream is somewhere else, or over and gone.
        EXPECT_EQ(of_body ? body_of(plugin, call) : get(plugin, call, "a"), before);
        EXPECT_EQ(plugin.api().facts(call)->id, 42U);
        if (of_body) {
          EXPECT_EQ(before, "abcd");
          EXPECT_EQ(edits(plugin).drop(call, 2), EXTPROC_OK);
          EXPECT_EQ(edits(plugin).write(call, abi("late")), EXTPROC_OK);
        } else {
          EXPECT_EQ(before, "1");
          set(plugin, call, "a", "late");
          reply(plugin, call, 418);
        }
        extension<extproc_store_api>(plugin, EXTPROC_STORE_1).set(call, abi("k"), abi("late"));
        note("phase");
        return of_body ? EXTPROC_HOLD : EXTPROC_REPLY;
      };
      send(of_body ? kModes + "STREAMED } request_body { body: 'abcd' }" : kHeaders);
      gate.wait_until_entered();
      advance(milliseconds(19));
      expect_replies({});
      EXPECT_FALSE(sink_.status);
      advance(milliseconds(1));
      if (policy == FailurePolicy::kFail) {
        ASSERT_TRUE(sink_.status);
        EXPECT_EQ(*sink_.status, absl::DeadlineExceededError("did not answer within 20ms"));
      } else if (policy == FailurePolicy::kDeny) {
        expect_replies({"immediate_response { status { code: ServiceUnavailable } details: 'extproc_" +
                        plugin.host->name() + "_failed' }"});
      } else {
        expect_replies({of_body ? "request_body {}" : "request_headers {}"});
        // Of the one with known modes nobody wants more; the other one goes on.
        EXPECT_EQ(sink_.status.has_value(), of_body);
        EXPECT_EQ(sink_.paused, of_body);
      }
      stream_.reset();
      EXPECT_THAT(events_, ElementsAre("begin"));
      gate.open();
      EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "end"));
      plugin.on_end = nullptr;
    }
  }
}

TEST_F(BlockingTest, what_returns_in_time_counts_however_late_the_stream_gets_to_it) {
  auto& plugin = add_blocker(kRequest, FailurePolicy::kFail, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    set(plugin, call, "a", "2");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  sink_.executor_->wait();
  advance(milliseconds(500));
  expect_replies({});
  run_posted();
  expect_replies({with_header("a", "2")});
  expect_nobody_waits();
}

TEST_F(BlockingTest, a_cancelled_stream_waits_for_nobody_and_its_end_is_told_behind_the_callback) {
  Gate gate;
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](auto...) -> extproc_action {
    gate.pass();
    note("phase");
    return EXTPROC_CONTINUE;
  };
  plugin.on_end = [&](extproc_call* call, const extproc_stream_end& end) {
    note("end " + std::to_string(end.reason) + " " + get(plugin, call, "a"));
  };
  send(kHeaders);
  gate.wait_until_entered();
  stream().cancelled(Cancel::kPeer);
  stream_.reset();
  gate.open();
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "end 1 1"));
  run_posted();
  expect_nobody_waits();
}

TEST_F(BlockingTest, what_has_returned_when_the_stream_is_cancelled_counts_no_more) {
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    note("phase");
    return EXTPROC_SUSPEND;
  };
  send(kHeaders);
  sink_.executor_->wait();
  stream().cancelled(Cancel::kPeer);
  stream_.reset();
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "over", "end"));
}

TEST_F(BlockingTest, a_callback_that_suspends_too_late_is_cancelled_before_the_end) {
  Gate gate;
  extproc_resume_handle handle = 0;
  auto& plugin = add_blocker(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    gate.pass();
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    note("phase");
    return EXTPROC_SUSPEND;
  };
  send(kHeaders);
  gate.wait_until_entered();
  advance(milliseconds(20));
  expect_replies({"request_headers {}"});
  gate.open();
  stream().half_closed();
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "timeout", "end"));
  EXPECT_EQ(plugin.resume(handle), EXTPROC_NOT_FOUND);
}

TEST_F(BlockingTest, what_waits_for_a_worker_when_the_time_is_over_is_not_called) {
  use_workers(1, 8);
  Gate gate;
  workers_->submit_always([&](bool) { gate.pass(); });
  gate.wait_until_entered();
  auto& plugin = add_blocker(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](auto...) -> extproc_action {
    note("phase");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  advance(milliseconds(20));
  expect_replies({"request_headers {}"});
  stream().half_closed();
  gate.open();
  EXPECT_THAT(all_events(), IsEmpty());
}

TEST_F(BlockingTest, a_full_queue_is_a_failure_by_the_plugins_policy) {
  for (const auto policy : {FailurePolicy::kFail, FailurePolicy::kDeny, FailurePolicy::kSkip}) {
    begin_anew();
    events_.clear();
    use_workers(1, 1);
    Gate gate;
    workers_->submit_always([&](bool) { gate.pass(); });
    gate.wait_until_entered();
    ASSERT_TRUE(workers_->submit([](bool) {}));
    auto& plugin = add_blocker(kRequest, policy);
    send(kHeaders);
    if (policy == FailurePolicy::kFail) {
      ASSERT_TRUE(sink_.status);
      EXPECT_EQ(*sink_.status,
                absl::ResourceExhaustedError("finds 1 callbacks waiting for a worker, as many as "
                                             "server.workers.max_queue allows"));
    } else if (policy == FailurePolicy::kDeny) {
      EXPECT_EQ(sink_.replies.size(), 1U);
      EXPECT_TRUE(sink_.replies[0].has_immediate_response());
    } else {
      expect_replies({"request_headers {}"});
    }
    EXPECT_EQ(value_of(*plugin.host->metrics().failures[static_cast<std::size_t>(policy)]), 1);
    stream_.reset();
    EXPECT_EQ(workers_->queue_length(), 1U) << "a stream that was refused leaves nothing to be done behind";
    gate.open();
    EXPECT_THAT(all_events(), IsEmpty());
    expect_nobody_waits();
  }
}

TEST_F(BlockingTest, it_may_suspend_and_is_resumed_on_a_worker) {
  extproc_resume_handle handle = 0;
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    set(plugin, call, "before", "1");
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    note("phase");
    return EXTPROC_SUSPEND;
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t token) -> extproc_action {
    EXPECT_EQ(get(plugin, call, "before"), "1");
    set(plugin, call, "after", std::to_string(token));
    note("resumed");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  go_on();
  EXPECT_TRUE(sink_.paused);
  expect_replies({});
  EXPECT_EQ(plugin.resume(handle, 7), EXTPROC_OK);
  go_on_to_the_end();
  expect_replies({"request_headers { response { header_mutation { " + set_header("before", "1") +
                  set_header("after", "7") + " } } }"});
  stream().half_closed();
  EXPECT_THAT(all_events(), ElementsAre("begin", "phase", "resumed", "end"));
  EXPECT_EQ(value_of(*plugin.host->metrics().ignored_resumes), 0);
}

TEST_F(BlockingTest, who_resumes_before_the_callback_has_returned_is_not_lost) {
  Gate gate;
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    EXPECT_EQ(plugin.resume(handle, 5), EXTPROC_OK);
    gate.pass();
    return EXTPROC_SUSPEND;
  };
  plugin.on_resumed = [&](extproc_call* call, uint32_t, uint64_t token) -> extproc_action {
    set(plugin, call, "token", std::to_string(token));
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  gate.wait_until_entered();
  run_posted();
  gate.open();
  go_on_to_the_end();
  expect_replies({with_header("token", "5")});
}

TEST_F(BlockingTest, a_suspension_that_comes_to_nothing_is_told_on_a_worker) {
  auto& plugin = add_blocker(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    extproc_resume_handle handle = 0;
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    return EXTPROC_SUSPEND;
  };
  send(kHeaders);
  go_on();
  advance(milliseconds(20));
  expect_replies({"request_headers {}"});
  stream().half_closed();
  EXPECT_THAT(all_events(), ElementsAre("begin", "timeout", "end"));
}

/// Keeps the only worker busy while a plugin that was resumed waits for it.
TEST_F(BlockingTest, who_is_resumed_and_gets_no_worker_in_time_is_told_that_it_came_to_nothing) {
  use_workers(1, 1);
  extproc_resume_handle handle = 0;
  auto& plugin = add_blocker(kRequest, FailurePolicy::kSkip, {.timeouts = timeouts(0.02)});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(plugin.async().suspend(call, &handle), EXTPROC_OK);
    return EXTPROC_SUSPEND;
  };
  plugin.on_resumed = [&](auto...) -> extproc_action {
    note("resumed");
    return EXTPROC_CONTINUE;
  };
  send(kHeaders);
  go_on();
  Gate gate;
  workers_->submit_always([&](bool) { gate.pass(); });
  gate.wait_until_entered();
  ASSERT_TRUE(workers_->submit([](bool) {}));  // the queue is full, which does not matter to who is resumed
  EXPECT_EQ(plugin.resume(handle), EXTPROC_OK);
  run_posted();
  EXPECT_TRUE(sink_.paused);
  advance(milliseconds(20));
  expect_replies({"request_headers {}"});
  stream().half_closed();
  gate.open();
  EXPECT_THAT(all_events(), ElementsAre("begin", "timeout", "end"));
}

TEST_F(BlockingTest, without_a_way_back_to_the_stream_it_fails) {
  sink_.executor_ = nullptr;
  add_blocker(kRequest);
  send(kHeaders);
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kInternal);
}

TEST_F(BlockingTest, the_last_reference_to_a_generation_goes_on_a_worker) {
  Gate gate;
  auto& plugin = add_blocker(kRequest);
  plugin.on_phase = [&](auto...) -> extproc_action {
    gate.pass();
    return EXTPROC_CONTINUE;
  };
  // As it is when a generation's plugins wait for their own work.
  const int own_work = 0;
  std::promise<std::thread::id> destroyed;
  generation_ = std::shared_ptr<Generation>(
      generation_.get(), [inner = generation_, pool = workers_.get(), &own_work, &destroyed](auto*) mutable {
        pool->give_up(&own_work);
        inner.reset();
        destroyed.set_value(std::this_thread::get_id());
      });
  send(kHeaders);
  gate.wait_until_entered();
  stream().cancelled(Cancel::kPeer);
  stream_.reset();
  generation_.reset();
  gate.open();
  EXPECT_NE(destroyed.get_future().get(), thread_);
  EXPECT_THAT(all_events(), ElementsAre("begin", "end"));
}

}  // namespace
}  // namespace extprocd::engine
