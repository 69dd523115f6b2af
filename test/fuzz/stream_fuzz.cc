// Any conversation, with plugins that do anything: whatever the data plane is sent must be legal, a stream ends at most
// once and holds nothing then, and the next stream of the same generation is served as if nothing had been.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
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
    auto& chain = generation->chains.add(std::make_unique<engine::Chain>(
        "default", config::ResponseOrder::kReverse, data_plane(head.data_plane)));
    chain.add(first.descriptor(), &first, first.host(),
              {.on_error = policy(policies / 3), .deny_status = 503, .max_body_bytes = kFewBytes});
    chain.add(second.descriptor(), &second, second.host(),
              {.on_error = policy(policies), .deny_status = 403});
    config::RequestMatch match;
    match.metadata = {{"x-extproc-chain", {config::TextPattern::parse("other")}}};
    auto& other = generation->chains.add(
        std::make_unique<engine::Chain>("other", config::ResponseOrder::kSame, data_plane(head.data_plane)),
        match);
    other.add(first.descriptor(), &first, first.host(),
              {.on_error = policy(policies), .deny_status = 503, .when = &when_});
    other.add(second.descriptor(), &second, second.host(),
              {.on_error = policy(policies / 3), .deny_status = 403, .max_body_bytes = kFewBytes});
    return generation;
  }
  void set_program(Input* program) {
    for (BytePlugin& plugin : first_) plugin.set_program(program);
    for (BytePlugin& plugin : second_) plugin.set_program(program);
  }
  /// Of all streams and plugins.
  [[nodiscard]] bool holds_nothing() {
    const bool plugins_hold_nothing = first_[0].host().metrics().held_bytes->value() == 0 &&
                                      second_[0].host().metrics().held_bytes->value() == 0;
    return metrics_.held_bytes.value() == 0 && plugins_hold_nothing;
  }

 private:
  static constexpr uint32_t kAccesses = 16;
  static constexpr uint64_t kFewBytes = 64;
  static constexpr uint64_t kMaxHeldBytes = 4096;

  static uint32_t access(uint32_t bits) { return EXTPROC_ACCESS_OBSERVE + (bits & 3); }
  static config::FailurePolicy policy(std::size_t number) {
    return static_cast<config::FailurePolicy>(number % 3);
  }
  static config::DataPlane data_plane(uint8_t bits) {
    config::DataPlane data_plane;
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

void converse(engine::ServerStream& stream, JudgingSink& sink, Input& input) {
  while (!input.empty() && !sink.finished) {
    switch (step_of(input.byte())) {
      case Step::kMessage: {
        const std::string_view message = input.text(input.number());
        if (message.size() <= kMaxMessageSize) sink.expect_answer_to(message);
        stream.receive(engine::Message::copy(message));
        break;
      }
      case Step::kHalfClose:
        stream.half_closed();
        require(sink.finished, "a half-close ends a stream");
        return;
      case Step::kCancelByPeer:
        return stream.cancelled(engine::Cancel::kPeer);
      case Step::kCancelByShutdown:
        return stream.cancelled(engine::Cancel::kShutdown);
    }
  }
}

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
  fuzz::Input program(head.program);
  surroundings.set_program(&program);
  const auto generation = surroundings.generation(head);
  {
    fuzz::JudgingSink sink;
    const auto metadata = fuzz::metadata(head.metadata);
    engine::Stream stream(generation, sink, {.peer = "ipv4:127.0.0.1:1", .metadata = metadata}, 1);
    fuzz::converse(stream, sink, input);
    if (sink.finished || sink.replied)
      fuzz::require(surroundings.holds_nothing(), "a stream that is over holds nothing");
  }
  fuzz::require(surroundings.holds_nothing(), "a stream that is gone holds nothing");
  static fuzz::Input nothing({});
  surroundings.set_program(&nothing);
  fuzz::serve_a_plain_stream(generation);
  return 0;
}
