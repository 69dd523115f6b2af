#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include <extproc/abi.h>

#include "core/engine/chain.h"
#include "core/engine/exchange.h"
#include "core/engine/held_bytes.h"
#include "core/http/body_buffer.h"
#include "core/wire/body_mode.h"

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
  /// `held_bytes` outlives the run.
  ChainRun(const Chain& chain, Exchange& exchange, HeldBytes& held_bytes);
  ChainRun(const ChainRun&) = delete;
  ChainRun& operator=(const ChainRun&) = delete;
  ~ChainRun();

  using Clock = std::chrono::steady_clock;

  /// Runs a phase (EXTPROC_*) through the plugins that asked for it and whose condition holds: requests in order,
  /// responses in the chain's response order.
  PhaseResult run(uint32_t phase, uint32_t flags);
  /// Runs a body phase: `body` comes with what the data plane sent and leaves with what is to go on. `carried`: can the
  /// answer carry bytes? If not (the trailers told the body's end), there must be none, or the plugin that has some
  /// fails.
  PhaseResult run_body(uint32_t phase, uint32_t flags, bool carried, http::BodyBuffer& body);
  /// Has a plugin changed, held or let go anything of the body in the phase that ran last?
  [[nodiscard]] bool body_touched() const { return body_touched_; }

  /// Fails the plugins whose access to a direction's body the body mode does not allow, each by its policy; before the
  /// direction's first callback, if a body is to come. `may_override`: another mode than NONE can be asked for.
  PhaseResult refuse_body_access(wire::Direction direction, std::optional<wire::BodyMode> mode,
                                 bool may_override);
  /// The strongest access (EXTPROC_ACCESS_*) to the body of a direction, whose headers are known, of the plugins that
  /// will still be called for it.
  [[nodiscard]] uint32_t body_need(wire::Direction direction);
  /// Does any plugin wait with a direction's headers for its body (EXTPROC_HOLD in a headers phase)?
  [[nodiscard]] bool headers_wait(wire::Direction direction) const;
  void stop_waiting(wire::Direction direction);
  /// Will any plugin be called for one of these phases (EXTPROC_PHASE_BIT)?
  [[nodiscard]] bool wants(uint32_t phases);

  /// Does any plugin hold a part of a body?
  [[nodiscard]] bool holds_bytes() const;

  /// Calls the plugin that gave a reply in pieces, for a piece of the request's body. The reply that it gave grows, or
  /// ends. A failure comes back as such, whatever the policy.
  PhaseResult run_reply_in_pieces(uint32_t flags, const http::BodyBuffer& body, LocalReply& reply);
  /// The plugin's request body phase is among those that it asked for.
  [[nodiscard]] bool reply_wants_body() const;

  /// When the last callback of the phase that ran last returned; nothing if there was none.
  [[nodiscard]] std::optional<Clock::time_point> last_return() const { return last_return_; }

  /// Tells every plugin that had begun that the stream is over, in reverse order. Once.
  void end(uint32_t reason, uint32_t grpc_status, std::chrono::nanoseconds duration);

 private:
  struct LinkState {
    static_assert(EXTPROC_PHASE_COUNT <= 8);  // bits of `unwanted`
    bool begun = false;
    bool done = false;                   // finished, left out after a failure, or not to be asked again
    bool request_judged = false;         // its `when` has been held against the request
    uint8_t unwanted = 0;                // EXTPROC_PHASE_BIT of phases that it skips
    std::array<bool, 2> types_judged{};  // a direction's content type has been held against its body types
    std::array<bool, 2> waits{};         // with the headers, for the body
    std::chrono::nanoseconds spent{0};
  };

  /// What each plugin holds, by direction; empty until one does.
  using Stages = std::array<std::vector<http::BodyBuffer>, 2>;

  /// What a failed callback's changes are undone to, besides the header maps' own undo points.
  struct UndoPoint {
    uint32_t phase;
    bool clear_route_cache;
    std::shared_ptr<const std::string> replacement_body;
    wire::DynamicMetadata metadata;
  };

  PhaseResult run_from_cursor();
  std::optional<PhaseResult> run_link(std::size_t position);
  std::optional<PhaseResult> on_action(std::size_t position, extproc_call& call, extproc_action action,
                                       const UndoPoint& before, bool can_skip = true);
  static PhaseResult failure_of(const extproc_call& call);
  // The body's way (chain_run_body.cc).
  std::optional<PhaseResult> run_stage(std::size_t position, bool carried, http::BodyBuffer& body);
  std::optional<PhaseResult> call_stage(std::size_t position, bool carried, http::BodyBuffer& body);
  std::optional<PhaseResult> keep(std::size_t position, http::BodyBuffer kept, http::BodyBuffer& body);
  std::optional<PhaseResult> over_limit(std::size_t position, HeldBytes::Over over, http::BodyBuffer& body);
  std::optional<PhaseResult> fail_link(std::size_t position, uint32_t code, std::string text,
                                       bool can_skip = true);
  void hold(std::size_t position, http::BodyBuffer bytes);
  [[nodiscard]] http::BodyBuffer take_held(std::size_t position);
  void prepend_held(std::size_t position, http::BodyBuffer& body);
  [[nodiscard]] http::BodyBuffer* stage(std::size_t position) const;
  [[nodiscard]] bool holds(std::size_t position) const;
  [[nodiscard]] std::size_t held_size(std::size_t position) const;
  void release_held(bool lost);
  [[nodiscard]] std::size_t position_of(std::size_t step) const;
  bool asks_for(std::size_t position, uint32_t phase);
  void judge_body_types(const ChainLink& link, LinkState& state, wire::Direction direction);
  bool takes_part(const ChainLink& link, LinkState& state, uint32_t phase);
  bool begin(std::size_t position, extproc_call& call);
  PhaseResult reply_with(std::size_t position, LocalReply reply);
  PhaseResult deny(std::size_t position, uint32_t status, std::string_view reason);
  std::optional<PhaseResult> on_failure(std::size_t position, const extproc_call& call,
                                        const UndoPoint& before, bool can_skip = true);
  extproc_action call_plugin(std::size_t position, extproc_call& call, uint32_t flags,
                             const UndoPoint& before);
  UndoPoint set_undo_point(uint32_t phase);
  void undo(const UndoPoint& before);
  void* state_of(const ChainLink& link);

  const Chain& chain_;
  Exchange& exchange_;
  std::span<LinkState> states_;
  std::byte* memory_ = nullptr;
  HeldBytes& held_bytes_;
  std::unique_ptr<Stages> stages_;  // null until a plugin holds something
  bool body_touched_ = false;
  uint32_t replying_ = 0;  // the place of the plugin that gave a reply in pieces

  // The cursor.
  uint32_t phase_ = 0;
  uint32_t flags_ = 0;
  std::size_t step_ = 0;
  std::optional<Clock::time_point> last_return_;
};

}  // namespace extprocd::engine
