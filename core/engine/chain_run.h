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

#include "core/engine/call.h"
#include "core/engine/chain.h"
#include "core/engine/exchange.h"
#include "core/engine/held_bytes.h"
#include "core/engine/seam.h"
#include "core/engine/suspensions.h"
#include "core/http/body_buffer.h"
#include "core/wire/body_mode.h"

namespace extprocd::engine {

class BlockingLink;
struct Generation;

/// What came of running a phase through the chain.
struct PhaseResult {
  enum class Kind : uint8_t {
    kContinue,  ///< send the phase's reply with the exchange's edits
    kReply,     ///< send `reply`; nothing comes after it
    kFail,      ///< end the stream with `failure`
    kWait,      ///< a plugin waits: the phase goes on with ChainRun::resume() or give_up()
  };
  Kind kind = Kind::kContinue;
  std::optional<LocalReply> reply;
  absl::Status failure;
};

/// One stream's way through a chain: which plugins have begun, their per-stream state, and a cursor over the
/// plugins of the phase that runs, which stops where one of them waits. Applies failure policies and takes back what a
/// failed plugin had changed.
/// One thread at a time; chain and exchange outlive it.
class ChainRun final : private CallSite {
 public:
  /// `held_bytes`, `sink` and `waiter`, who is told of resumes, outlive the run, as does `generation`, which has the
  /// chain.
  ChainRun(const Chain& chain, Exchange& exchange, HeldBytes& held_bytes, Sink& sink,
           Suspensions::Waiter& waiter, const std::shared_ptr<const Generation>& generation);
  ChainRun(const ChainRun&) = delete;
  ChainRun& operator=(const ChainRun&) = delete;
  ~ChainRun();

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

  /// Does the phase wait for this suspension of a plugin's?
  [[nodiscard]] bool waits_for(const Suspensions& plugin, Suspensions::Handle handle) const {
    return waiting_ != nullptr && waiting_->handle == handle &&
           &chain_.links()[waiting_->position].host->suspensions() == &plugin;
  }
  /// Until when the plugin that waits may do so, by its own timeout.
  [[nodiscard]] std::optional<Clock::time_point> waits_until() const { return waiting_->until; }
  /// Has it returned on its worker, so that its resume is on the way here?
  [[nodiscard]] bool has_returned() const;
  /// When it is to be resumed by its own timer.
  [[nodiscard]] std::optional<Clock::time_point> resume_time() const {
    return waiting_->timer ? std::optional(waiting_->timer->at) : std::nullopt;
  }
  /// The timer is no more; what to resume with. Nothing if a resume is on its way already.
  [[nodiscard]] std::optional<uint64_t> take_resume_timer();
  /// Calls the plugin that waits again, and goes on with the phase. Of a body phase, `body` leaves with what is to go on.
  PhaseResult resume(uint64_t token, http::BodyBuffer& body);
  /// The plugin that waits has failed, for want of time: its policy is applied, and the phase goes on. `why` is for the
  /// operator.
  PhaseResult give_up(std::string why, http::BodyBuffer& body);
  /// Why a plugin's own timeout is over.
  [[nodiscard]] std::string too_late() const;

  /// A handle was resumed that the phase does not wait for, or not yet.
  void note_resume(const Suspensions& of, Suspensions::Handle handle, uint64_t token);

  /// When the last callback of the phase that ran last returned; nothing if there was none.
  [[nodiscard]] std::optional<Clock::time_point> last_return() const {
    return last_return_ == kNever ? std::nullopt : std::optional(last_return_);
  }

  /// Tells every plugin that had begun that the stream is over, in reverse order. Once.
  void end(uint32_t reason, uint32_t grpc_status, std::chrono::nanoseconds duration);

 private:
  struct LinkState {
    static_assert(EXTPROC_PHASE_COUNT <= 8);  // bits of `unwanted`
    bool begun : 1 = false;
    bool done : 1 = false;               // finished, left out after a failure, or not to be asked again
    bool request_judged : 1 = false;     // its `when` has been held against the request
    bool admitted : 1 = false;           // it was not in quarantine when it was first to be called
    uint8_t unwanted = 0;                // EXTPROC_PHASE_BIT of phases that it skips
    std::array<bool, 2> types_judged{};  // a direction's content type has been held against its body types
    std::array<bool, 2> waits{};         // with the headers, for the body
    Quarantine::Trial trial = 0;         // the stream's, if it tries the plugin after a quarantine
    std::chrono::nanoseconds spent{0};
  };

  static constexpr Clock::time_point kNever = Clock::time_point::min();

  /// What each plugin holds, by direction; empty until one does.
  using Stages = std::array<std::vector<http::BodyBuffer>, 2>;

  /// What a failed callback's changes are undone to, besides the header maps' own undo points.
  struct UndoPoint {
    uint32_t phase;
    bool clear_route_cache;
    std::shared_ptr<const std::string> replacement_body;
    wire::DynamicMetadata metadata;
  };

  /// A plugin that waits, and what its callback had come to.
  struct Waiting {
    std::size_t position;
    Suspensions::Handle handle;
    UndoPoint before;
    uint32_t unwanted;
    std::optional<LocalReply> reply;
    Clock::time_point began;  // the first callback of the phase
    Clock::time_point since;
    std::optional<Clock::time_point> until;
    std::optional<ResumeTimer> timer;
    std::optional<BodyEdit> edit;            // in a body phase
    std::shared_ptr<BlockingCall> blocking;  // it has not suspended, but runs on a worker
    std::vector<std::pair<Suspensions::Handle, uint64_t>> early_resumes;  // of what that may suspend with
  };

  Suspensions::Handle open_suspension(const ChainLink& link) override {
    auto executor = sink_.executor();
    return executor == nullptr ? 0 : link.host->suspensions().open(std::move(executor), waiter_);
  }
  [[nodiscard]] Clock::time_point now() const override { return sink_.now(); }

  PhaseResult run_from_cursor();
  std::optional<PhaseResult> run_link(std::size_t position);
  std::optional<PhaseResult> on_action(std::size_t position, extproc_call& call, extproc_action action,
                                       const UndoPoint& before, bool can_skip = true);
  std::optional<PhaseResult> settle(std::size_t position, extproc_call& call, extproc_action action,
                                    UndoPoint& before);
  [[nodiscard]] bool may_hold(const extproc_call& call) const;
  static PhaseResult failure_of(const extproc_call& call);
  // Waiting (chain_run_wait.cc).
  PhaseResult wait(std::size_t position, extproc_call& call, UndoPoint& before, BodyEdit* edit);
  std::unique_ptr<Waiting> end_wait(telemetry::WaitResult result);
  void take_up(Waiting& waiting, extproc_call& call);
  PhaseResult go_on(Waiting& waiting, extproc_call& call, extproc_action action, http::BodyBuffer& body);
  void tell_cancelled(const Waiting& waiting, uint32_t reason);
  void cancel_waiting();
  // Plugins that may block (chain_run_blocking.cc).
  extproc_action call_on_worker(std::size_t position, extproc_call& call, uint32_t flags,
                                const uint64_t* token);
  extproc_action take_over(Waiting& waiting, extproc_call& call);
  void tell_cancelled_on_worker(std::size_t position, uint32_t reason);
  void give_up_blocking(const Waiting& waiting, uint32_t reason);
  void end_on_worker(std::size_t position, const extproc_stream_end& info);
  [[nodiscard]] BlockingLink* blocking(std::size_t position) const {
    return blocking_ == nullptr ? nullptr : blocking_[position].get();
  }
  // The body's way (chain_run_body.cc).
  PhaseResult run_body_from_cursor(http::BodyBuffer& body);
  std::optional<PhaseResult> run_stage(std::size_t position, http::BodyBuffer& body);
  std::optional<PhaseResult> call_stage(std::size_t position, http::BodyBuffer& body);
  void give_body(extproc_call& call, BodyEdit& edit);
  [[nodiscard]] uint32_t body_flags(const BodyEdit& edit) const;
  std::optional<PhaseResult> settle_stage(std::size_t position, extproc_call& call, extproc_action action,
                                          UndoPoint& before, BodyEdit& edit, http::BodyBuffer& body);
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
  // Quarantine (chain_run_quarantine.cc).
  bool is_admitted(std::size_t position) { return states_[position].admitted || ask_quarantine(position); }
  bool ask_quarantine(std::size_t position);
  std::optional<PhaseResult> set_aside(std::size_t position);
  void count_failure(std::size_t position);
  void end_trial(std::size_t position);
  PhaseResult reply_with(std::size_t position, LocalReply reply);
  PhaseResult deny(std::size_t position, uint32_t status, std::string_view reason);
  std::optional<PhaseResult> on_failure(std::size_t position, const extproc_call& call,
                                        const UndoPoint& before, bool can_skip = true);
  extproc_action call_plugin(std::size_t position, extproc_call& call, uint32_t flags,
                             const UndoPoint& before, const uint64_t* token = nullptr);
  extproc_action judge(std::size_t position, extproc_call& call, extproc_action action,
                       Clock::time_point returned, const UndoPoint& before);
  UndoPoint set_undo_point(uint32_t phase);
  void undo(const UndoPoint& before);
  void* state_of(const ChainLink& link);

  const Chain& chain_;
  Exchange& exchange_;
  std::span<LinkState> states_;
  std::byte* memory_ = nullptr;
  HeldBytes& held_bytes_;
  Sink& sink_;
  Suspensions::Waiter& waiter_;
  const std::shared_ptr<const Generation>& generation_;
  // By place, null for others; null until one is called.
  std::unique_ptr<std::shared_ptr<BlockingLink>[]> blocking_;
  std::unique_ptr<Stages> stages_;    // null until a plugin holds something
  std::unique_ptr<Waiting> waiting_;  // null: nobody waits
  bool body_touched_ = false;
  bool carried_ = false;     // can the answer to the body at hand carry bytes?
  bool came_empty_ = false;  // the body at hand
  uint32_t replying_ = 0;    // the place of the plugin that gave a reply in pieces

  // The cursor.
  uint32_t phase_ = 0;
  uint32_t flags_ = 0;
  std::size_t step_ = 0;
  Clock::time_point last_return_ = kNever;
};

}  // namespace extprocd::engine
