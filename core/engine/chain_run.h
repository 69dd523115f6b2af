#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include <extproc/abi.h>

#include "core/engine/chain.h"
#include "core/engine/exchange.h"

struct extproc_call;

namespace extprocd::engine {

/// What came of running a phase through the chain.
struct PhaseResult {
  enum class Kind : uint8_t {
    kContinue,  ///< send the phase's reply with the exchange's edits
    kReply,     ///< send `reply`; nothing comes after it
    kFail,      ///< end the stream with `failure`
  };
  Kind kind = Kind::kContinue;
  std::optional<LocalReply> reply;
  absl::Status failure;
};

/// One stream's way through a chain: which plugins have begun, their per-stream state, and a cursor over the
/// plugins of the phase that runs. Applies failure policies and takes back what a failed plugin had changed.
/// One thread at a time; chain and exchange outlive it.
class ChainRun {
 public:
  ChainRun(const Chain& chain, Exchange& exchange);
  ChainRun(const ChainRun&) = delete;
  ChainRun& operator=(const ChainRun&) = delete;

  using Clock = std::chrono::steady_clock;

  /// Runs a phase (EXTPROC_*) through the plugins that asked for it and whose condition holds: requests in order,
  /// responses in the chain's response order.
  PhaseResult run(uint32_t phase, uint32_t flags);
  /// When the last callback of the phase that ran last returned; nothing if there was none.
  [[nodiscard]] std::optional<Clock::time_point> last_return() const { return last_return_; }

  /// Tells every plugin that had begun that the stream is over, in reverse order. Once.
  void end(uint32_t reason, uint32_t grpc_status, std::chrono::nanoseconds duration);

 private:
  struct LinkState {
    bool begun = false;
    bool done = false;            // finished, left out after a failure, or not to be asked again
    bool request_judged = false;  // its `when` has been held against the request
    std::chrono::nanoseconds spent{0};
  };

  /// What a failed callback's changes are undone to, besides the header maps' own undo points.
  struct UndoPoint {
    uint32_t phase;
    bool clear_route_cache;
    std::shared_ptr<const std::string> replacement_body;
    wire::DynamicMetadata metadata;
  };

  PhaseResult run_from_cursor();
  std::optional<PhaseResult> run_link(std::size_t position);
  bool takes_part(const ChainLink& link, LinkState& state);
  bool begin(std::size_t position, extproc_call& call);
  PhaseResult reply_with(std::size_t position, LocalReply reply);
  std::optional<PhaseResult> on_failure(std::size_t position, const extproc_call& call,
                                        const UndoPoint& before);
  extproc_action call_plugin(std::size_t position, extproc_call& call, uint32_t flags,
                             const UndoPoint& before);
  UndoPoint set_undo_point(uint32_t phase);
  void undo(const UndoPoint& before);
  void* state_of(const ChainLink& link);

  const Chain& chain_;
  Exchange& exchange_;
  std::span<LinkState> states_;
  std::byte* memory_ = nullptr;

  // The cursor.
  uint32_t phase_ = 0;
  uint32_t flags_ = 0;
  std::size_t step_ = 0;
  std::optional<Clock::time_point> last_return_;
};

}  // namespace extprocd::engine
