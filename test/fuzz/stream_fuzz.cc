// Any conversation, with plugins that do anything: whatever the data plane is sent must be legal, a stream ends at most
// once, and the next stream of the same generation is served as if nothing had been.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/stubs/logging.h>

#include "core/engine/stream.h"
#include "core/telemetry/log.h"
#include "core/wire/request_view.h"
#include "test/fuzz/byte_plugin.h"
#include "test/fuzz/input.h"

namespace extprocd::fuzz {
namespace {

using envoy::service::ext_proc::v3::ProcessingResponse;

constexpr std::size_t kMaxMessageSize = 32768;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// Judges what a stream sends.
class JudgingSink final : public engine::Sink {
 public:
  void send(const wire::Pieces& message) override {
    require(!observing, "nothing is sent in observability mode");
    require(!finished, "nothing is sent after the end");
    ProcessingResponse reply;
    require(reply.ParseFromString(message.joined()), "a reply can be parsed");
    require(!immediate, "nothing is sent after an immediate response");
    const bool bare_window = reply.response_case() == ProcessingResponse::RESPONSE_NOT_SET;
    require(!bare_window || reply.has_server_window_update(), "an empty reply is a window update");
    immediate = reply.has_immediate_response();
    const auto& body = reply.has_request_body() ? reply.request_body() : reply.response_body();
    const bool piece = body.response().body_mutation().has_streamed_response();
    if (!bare_window && !piece) ++replies;
    last = reply;
  }
  void finish(const absl::Status& status) override {
    require(!finished, "a stream ends once");
    require(status.message().size() < 4096, "a status' text is short");
    require(!observing || status.ok(), "observability mode ends with OK");
    finished = true;
  }

  bool observing = false;
  bool finished = false;
  bool immediate = false;
  int replies = 0;
  ProcessingResponse last;
};

/// Generations with two byte-driven plugins, one for each pair of policies, made once.
class Surroundings {
 public:
  Surroundings() {
    telemetry::init_log("off", "text");
    for (std::size_t i = 0; i < generations_.size(); ++i) {
      auto generation = std::make_shared<engine::Generation>();
      generation->metrics = &metrics_;
      generation->config.server.limits = {.max_message_size = kMaxMessageSize, .max_headers = 50};
      generation->config.chains.on_unknown = policy(i);
      config::When when;
      when.request.path = {{config::TextPattern::Kind::kPrefix, "/"}};
      when.status = {{200, 299}};
      when_ = when;
      auto& chain = generation->chains.add(std::make_unique<engine::Chain>("default"));
      chain.add(first_.descriptor(), &first_, first_.host(), policy(i / 3), 503);
      chain.add(second_.descriptor(), &second_, second_.host(), policy(i), 403);
      config::RequestMatch match;
      match.metadata = {{"x-extproc-chain", {config::TextPattern::parse("other")}}};
      auto& other = generation->chains.add(
          std::make_unique<engine::Chain>("other", config::ResponseOrder::kSame), match);
      other.add(first_.descriptor(), &first_, first_.host(), policy(i), 503, &when_);
      other.add(second_.descriptor(), &second_, second_.host(), policy(i / 3), 403);
      generations_[i] = std::move(generation);
    }
  }

  std::shared_ptr<const engine::Generation> generation(uint8_t policies) const {
    return generations_[policies % generations_.size()];
  }
  void set_program(Input* program) {
    first_.set_program(program);
    second_.set_program(program);
  }

 private:
  static config::FailurePolicy policy(std::size_t number) {
    return static_cast<config::FailurePolicy>(number % 3);
  }

  telemetry::Registry registry_{1};
  telemetry::Metrics metrics_{registry_};
  BytePlugin first_{"first", registry_};
  BytePlugin second_{"second", registry_};
  config::When when_;
  std::array<std::shared_ptr<const engine::Generation>, 9> generations_;
};

std::vector<engine::MetadataEntry> metadata(uint8_t choice) {
  std::vector<engine::MetadataEntry> entries;
  if ((choice & 1) != 0) entries.emplace_back("x-extproc-chain", "other");
  if ((choice & 6) == 6) entries.emplace_back("x-extproc-chain", "nowhere");
  return entries;
}

/// Whether a stream whose first message this is gets no replies.
bool asks_to_observe(std::string_view first) {
  wire::RequestView view;
  return first.size() <= kMaxMessageSize && view.parse(first).ok() && view.observability_mode();
}

void converse(engine::ServerStream& stream, JudgingSink& sink, Input& input) {
  int messages = 0;
  while (!input.empty() && !sink.finished) {
    switch (step_of(input.byte())) {
      case Step::kMessage: {
        const std::string_view message = input.text(input.number());
        if (messages++ == 0) sink.observing = asks_to_observe(message);
        stream.receive(engine::Message::copy(message));
        require(sink.replies <= messages, "no reply is sent that is not owed");
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
  stream.receive(engine::Message::copy(std::string_view("\x12\x00", 2)));  // request_headers {}
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
  const auto generation = surroundings.generation(head.policies);
  {
    fuzz::JudgingSink sink;
    const auto metadata = fuzz::metadata(head.metadata);
    engine::Stream stream(generation, sink, {.peer = "ipv4:127.0.0.1:1", .metadata = metadata}, 1);
    fuzz::converse(stream, sink, input);
  }
  static fuzz::Input nothing({});
  surroundings.set_program(&nothing);
  fuzz::serve_a_plain_stream(generation);
  return 0;
}
