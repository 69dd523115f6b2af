// Any conversation, with plugins that do anything: whatever the data plane is sent must be legal, a stream ends at most
// once and holds nothing then, and the next stream of the same generation is served as if nothing had been.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <google/protobuf/stubs/logging.h>

#include "core/engine/stream.h"
#include "core/telemetry/log.h"
#include "test/fuzz/byte_plugin.h"
#include "test/fuzz/input.h"
#include "test/fuzz/judging_sink.h"

namespace extprocd::fuzz {
namespace {

constexpr std::size_t kMaxMessageSize = 32768;

/// Generations with two byte-driven plugins, whose access to bodies, policies and data plane an input chooses.
class Surroundings {
 public:
  Surroundings() {
    telemetry::init_log("off", "text");
    for (uint32_t i = 0; i < kAccesses; ++i) {
      first_.emplace_back("first", access(i), access(i >> 2), registry_);
      second_.emplace_back("second", access(i), access(i >> 2), registry_);
    }
    when_.request.path = {{config::TextPattern::Kind::kPrefix, "/"}};
    when_.status = {{200, 299}};
  }

  std::shared_ptr<const engine::Generation> generation(const Head& head) {
    auto generation = std::make_shared<engine::Generation>();
    generation->metrics = &metrics_;
    generation->config.server.limits = {
        .max_message_size = kMaxMessageSize, .max_headers = 50, .max_held_bytes = kMaxHeldBytes};
    const uint8_t policies = head.policies;
    generation->config.chains.on_unknown = policy(policies);
    BytePlugin& first = first_[head.access % kAccesses];
    BytePlugin& second = second_[head.access / kAccesses];
    const config::DataPlane of_head = data_plane(head.data_plane, head.metadata);
    const engine::Duration deadline =
        std::chrono::milliseconds((head.metadata & 16) != 0 ? kDeadlineMillis : 0);
    config::PhaseTimeouts timeouts{};
    if ((head.metadata & 8) != 0) timeouts.fill(kTimeout);
    auto& chain = generation->chains.add(
        std::make_unique<engine::Chain>("default", config::ResponseOrder::kReverse, of_head, deadline));
    chain.add(first.descriptor(), &first, first.host(),
              {.on_error = policy(policies / 3),
               .deny_status = 503,
               .max_body_bytes = kFewBytes,
               .timeouts = timeouts});
    chain.add(second.descriptor(), &second, second.host(),
              {.on_error = policy(policies), .deny_status = 403});
    config::RequestMatch match;
    match.metadata = {{"x-extproc-chain", {config::TextPattern::parse("other")}}};
    auto& other = generation->chains.add(
        std::make_unique<engine::Chain>("other", config::ResponseOrder::kSame, of_head, deadline), match);
    other.add(first.descriptor(), &first, first.host(),
              {.on_error = policy(policies), .deny_status = 503, .when = &when_, .timeouts = timeouts});
    other.add(second.descriptor(), &second, second.host(),
              {.on_error = policy(policies / 3), .deny_status = 403, .max_body_bytes = kFewBytes});
    return generation;
  }
  void set_run(Run* run) {
    for (BytePlugin& plugin : first_) plugin.set_run(run);
    for (BytePlugin& plugin : second_) plugin.set_run(run);
  }
  /// Of all streams and plugins.
  [[nodiscard]] bool holds_nothing() {
    const bool plugins_hold_nothing = first_[0].host().metrics().held_bytes->value() == 0 &&
                                      second_[0].host().metrics().held_bytes->value() == 0;
    return metrics_.held_bytes.value() == 0 && plugins_hold_nothing;
  }
  [[nodiscard]] bool nobody_waits() {
    return metrics_.waiting.value() == 0 && first_[0].host().metrics().waiting->value() == 0 &&
           second_[0].host().metrics().waiting->value() == 0;
  }

 private:
  static constexpr uint32_t kAccesses = 16;
  static constexpr uint64_t kFewBytes = 64;
  static constexpr uint64_t kMaxHeldBytes = 4096;
  static constexpr double kTimeout = 0.02;
  static constexpr double kMessageTimeout = 0.04;
  static constexpr int kDeadlineMillis = 150;

  static uint32_t access(uint32_t bits) { return EXTPROC_ACCESS_OBSERVE + (bits & 3); }
  static config::FailurePolicy policy(std::size_t number) {
    return static_cast<config::FailurePolicy>(number % 3);
  }
  static config::DataPlane data_plane(uint8_t bits, uint8_t times) {
    config::DataPlane data_plane;
    if ((times & 32) != 0) data_plane.message_timeout = kMessageTimeout;
    data_plane.streamed_immediate_response = (bits & 1) != 0;
    data_plane.allow_mode_override = (bits & 2) != 0;
    data_plane.max_message_timeout = (bits & 4) != 0 ? 10 : 0;
    // What it says it does not tell.
    if ((bits & 8) != 0) data_plane.request_body_mode = static_cast<wire::BodyMode>((bits >> 4) & 3);
    if ((bits & 8) != 0) data_plane.response_body_mode = static_cast<wire::BodyMode>((bits >> 6) & 3);
    return data_plane;
  }

  telemetry::Registry registry_{1};
  telemetry::Metrics metrics_{registry_};
  std::deque<BytePlugin> first_;
  std::deque<BytePlugin> second_;
  config::When when_;
};

std::vector<engine::MetadataEntry> metadata(uint8_t choice) {
  std::vector<engine::MetadataEntry> entries;
  if ((choice & 1) != 0) entries.emplace_back("x-extproc-chain", "other");
  if ((choice & 6) == 6) entries.emplace_back("x-extproc-chain", "nowhere");
  return entries;
}

/// A stream, and what a transport has for it.
class Conversation {
 public:
  Conversation(engine::ServerStream& stream, JudgingSink& sink, Run& run)
      : stream_(stream), sink_(sink), run_(run) {}

  void run(Input& input) {
    while (!input.empty() && !over()) {
      happen(step_of(input.byte()), input);
      judge();
      hand_over();
      judge();
    }
  }
  [[nodiscard]] bool over() const { return sink_.finished || cancelled_; }

 private:
  void judge() const {
    if (over()) return;
    require(sink_.paused == (run_.waits != nullptr), "a stream reads exactly if no plugin waits");
    require(sink_.paused || !sink_.timer, "a timer is set only to wait with");
  }
  void happen(Step step, Input& input) {
    switch (step) {
      case Step::kMessage:
        // Nothing comes behind a half-close.
        if (!half_closes_) waiting_.emplace_back(input.text(input.number()));
        break;
      case Step::kHalfClose:
        half_closes_ = true;
        break;
      case Step::kCancelByPeer:
        return cancel(engine::Cancel::kPeer);
      case Step::kCancelByShutdown:
        return cancel(engine::Cancel::kShutdown);
      case Step::kTimePasses:
        sink_.time += std::chrono::milliseconds(input.byte());
        break;
      case Step::kTimerFires:
        if (!sink_.timer) break;
        sink_.time = std::max(sink_.time, *sink_.timer);
        sink_.timer.reset();
        stream_.timer_fired();
        break;
      case Step::kPostedWork: {
        if (sink_.posted->work.empty()) break;
        const auto work = std::move(sink_.posted->work.front());
        sink_.posted->work.pop_front();
        work();
        break;
      }
      case Step::kResume: {
        if (run_.handles.empty()) break;
        const auto& [plugin, handle] = run_.handles[input.byte() % run_.handles.size()];
        plugin->resume(handle, 0);
      }
    }
  }
  /// What came meanwhile, for as long as the stream reads.
  void hand_over() {
    while (!sink_.finished && !sink_.paused && !waiting_.empty()) {
      const std::string message = std::move(waiting_.front());
      waiting_.pop_front();
      if (message.size() <= kMaxMessageSize) sink_.expect_answer_to(message);
      stream_.receive(engine::Message::copy(message));
    }
    if (!half_closes_ || sink_.finished || sink_.paused) return;
    stream_.half_closed();
    require(sink_.finished, "a half-close ends a stream");
  }
  void cancel(engine::Cancel by) {
    cancelled_ = true;
    sink_.cancelled();
    stream_.cancelled(by);
  }

  engine::ServerStream& stream_;
  JudgingSink& sink_;
  Run& run_;
  std::deque<std::string> waiting_;
  bool half_closes_ = false;
  bool cancelled_ = false;
};

/// A stream without any peculiarity is served as ever.
void serve_a_plain_stream(const std::shared_ptr<const engine::Generation>& generation) {
  JudgingSink sink;
  engine::Stream stream(generation, sink, {}, 2);
  const std::string_view message("\x12\x02\x18\x01", 4);  // request_headers { end_of_stream: true }
  sink.expect_answer_to(message);
  stream.receive(engine::Message::copy(message));
  require(sink.replies == 1 && sink.last.has_request_headers(), "the next stream gets its reply");
  stream.half_closed();
  require(sink.finished, "the next stream ends");
}

}  // namespace
}  // namespace extprocd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace extprocd;
  static google::protobuf::LogSilencer silencer;
  static fuzz::Surroundings surroundings;
  fuzz::Input input({reinterpret_cast<const char*>(data), size});
  const fuzz::Head head = fuzz::read_head(input);
  const auto generation = surroundings.generation(head);
  fuzz::JudgingSink sink;
  fuzz::Run run;
  run.program = fuzz::Input(head.program);
  run.time = &sink.time;
  surroundings.set_run(&run);
  {
    const auto metadata = fuzz::metadata(head.metadata);
    engine::Stream stream(generation, sink, {.peer = "ipv4:127.0.0.1:1", .metadata = metadata}, 1);
    fuzz::Conversation conversation(stream, sink, run);
    conversation.run(input);
    if (conversation.over() || sink.replied) {
      fuzz::require(surroundings.holds_nothing(), "a stream that is over holds nothing");
      fuzz::require(surroundings.nobody_waits(), "nobody waits when a stream is over");
      fuzz::require(run.begun == 0, "plugins are told when a stream is over");
    }
    if (!conversation.over()) sink.cancelled();  // by its going
  }
  fuzz::require(surroundings.holds_nothing(), "a stream that is gone holds nothing");
  fuzz::require(surroundings.nobody_waits(), "nobody waits when a stream is gone");
  fuzz::require(run.begun == 0 && run.waits == nullptr, "plugins are told when a stream is gone");
  sink.posted->work.clear();
  for (const auto& [plugin, handle] : run.handles) {
    fuzz::require(plugin->resume(handle, 0) == EXTPROC_NOT_FOUND, "a stream that is gone is not resumed");
  }
  fuzz::require(sink.posted->work.empty(), "nothing is posted to a stream that is gone");
  fuzz::Run nothing;
  surroundings.set_run(&nothing);
  fuzz::serve_a_plain_stream(generation);
  surroundings.set_run(nullptr);
  return 0;
}
