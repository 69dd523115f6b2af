#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

#include "core/engine/chain_run.h"
#include "core/engine/direction.h"
#include "core/engine/exchange.h"
#include "core/engine/generation.h"
#include "core/engine/outbound.h"
#include "core/engine/scratch.h"
#include "core/engine/seam.h"

namespace extprocd::engine {

/// One Process stream: one HTTP request with its response, as one ext_proc filter sees it. A state machine
/// without I/O: messages in, replies out through the sink. Whatever comes, in any order, each message gets
/// exactly the reply that the data plane is owed for it, or the stream ends with a status that says why.
///
/// One thread at a time. Keeps its generation alive.
class Stream final : public ServerStream {
 public:
  /// `id` is unique in the process. `sink` outlives the stream.
  Stream(std::shared_ptr<const Generation> generation, Sink& sink, const StreamFacts& facts, uint64_t id);
  ~Stream() override;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void receive(Message message) override;
  void half_closed() override;
  void cancelled(Cancel by) override;

 private:
  enum class State : uint8_t { kOpen, kReplied, kOver };

  /// Where the response's headers are: held by the data plane (until the reply to a buffered body), or on
  /// their way to the client, when it is too late for an immediate response.
  enum class Response : uint8_t { kNotSeen, kHeld, kReleased };

  /// A message that is in order, split up.
  struct Incoming {
    wire::Direction direction;
    Part part;
    uint32_t phase;    // EXTPROC_*
    Scratch& scratch;  // has its view
  };

  void process(std::string_view message, Scratch& scratch);
  [[nodiscard]] absl::Status take_in_stream_facts(Scratch& scratch);
  void run_phase(const Incoming& incoming);
  [[nodiscard]] bool show_to_plugins(const Incoming& incoming, const extproc_str& slice);
  [[nodiscard]] bool choose_chain(const Incoming& incoming);
  void on_unknown_chain(const Incoming& incoming);
  void answer(const Incoming& incoming, bool end_of_stream);
  void reply_and_stop(const LocalReply& reply, Scratch& scratch);
  void protocol_error(const absl::Status& status);
  void over_limit(telemetry::Limit limit, const std::string& text);
  void finish(const absl::Status& status, telemetry::EndReason reason);
  void end_plugins(telemetry::EndReason reason, const absl::Status& status);
  [[nodiscard]] bool reply_possible(const Incoming& incoming) const;

  const std::shared_ptr<const Generation> generation_;
  const telemetry::Metrics& metrics_;
  Sink& sink_;
  Exchange exchange_;
  const Chain* chain_ = nullptr;  // null until the first message that has a phase
  std::optional<ChainRun> chain_run_;
  Outbound outbound_;
  std::array<Direction, 2> directions_;
  State state_ = State::kOpen;
  bool started_ = false;
  bool plugins_ended_ = false;
  Response response_ = Response::kNotSeen;
  std::chrono::steady_clock::time_point started_at_;
};

}  // namespace extprocd::engine
