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
#include "core/engine/held_bytes.h"
#include "core/engine/outbound.h"
#include "core/engine/scratch.h"
#include "core/engine/seam.h"
#include "core/engine/suspensions.h"
#include "core/http/body_buffer.h"

namespace extprocd::engine {

/// One Process stream: one HTTP request with its response, as one ext_proc filter sees it. A state machine
/// without I/O: messages in, replies out through the sink. Whatever comes, in any order, each message gets
/// exactly the reply that the data plane is owed for it, or the stream ends with a status that says why. While a plugin
/// waits it stands still, and reads nothing.
///
/// One thread at a time. Keeps its generation alive.
class Stream final : public ServerStream, private Suspensions::Waiter {
 public:
  /// `id` is unique in the process. `sink` outlives the stream.
  Stream(std::shared_ptr<const Generation> generation, Sink& sink, const StreamFacts& facts, uint64_t id);
  ~Stream() override;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void receive(Message message) override;
  void half_closed() override;
  void cancelled(Cancel by) override;
  void timer_fired() override;

 private:
  enum class State : uint8_t {
    kOpen,
    kReplying,  ///< a local reply in pieces goes on
    kReplied,
    kOver
  };

  /// Where the response's headers are: held by the data plane (until the reply to a buffered body), or on
  /// their way to the client, when it is too late for an immediate response.
  enum class Response : uint8_t { kNotSeen, kHeld, kReleased };

  /// A message that is in order, split up.
  struct Incoming {
    wire::Direction direction;
    Part part;
    uint32_t phase;  // EXTPROC_*
    Clock::time_point came;
    Scratch& scratch;  // has its view
  };

  /// Where the handling of a message goes on when the plugin that it waits for has answered.
  enum class Step : uint8_t { kHeaders, kBody, kEndOfBody, kTrailers };

  /// A message whose handling waits for a plugin.
  struct Pending {
    Step step;
    Message message;  // owned
    Clock::time_point came;
  };

  /// What has come of a direction, and what its plugins were told.
  struct Side {
    Direction order;
    bool seen = false;
    bool ended = false;      // nothing more of it comes
    bool no_body = false;    // the headers said so
    bool judged = false;     // the plugins' access to the body has been held against the body mode
    bool body_came = false;  // a message of it
    bool told_end_of_body = false;
    bool drained = false;  // the data plane sends the rest of the body past the server
  };

  void resumed(const Suspensions& plugin, Suspensions::Handle handle, uint64_t token) override;

  void process(std::string_view message, Scratch& scratch);
  [[nodiscard]] static Incoming incoming(Clock::time_point came, Scratch& scratch);
  [[nodiscard]] absl::Status take_in_stream_facts(Scratch& scratch);
  void run_phase(const Incoming& incoming);
  void on_headers(const Incoming& incoming, bool end_of_stream);
  void answer_headers(const Incoming& incoming, bool end_of_stream);
  void on_body(const Incoming& incoming, bool end_of_stream);
  void after_body(const Incoming& incoming);
  void on_trailers(const Incoming& incoming);
  void run_trailers(const Incoming& incoming);
  void answer_trailers(const Incoming& incoming);
  void answered(const Incoming& incoming);
  /// Does what came of a phase, unless it is to go on as usual: ends the stream, sends a reply, or waits. False: it is to.
  [[nodiscard]] bool stops(PhaseResult result, const Incoming& incoming, Step step);

  // Waiting (stream_wait.cc).
  void wait_for_plugin(const Incoming& incoming, Step step);
  void stand_still(Message message);
  void forget_pending();
  template <typename GoOn>
  void go_on(GoOn with_chain);
  void take_up(const Incoming& incoming, Step step, PhaseResult result, http::BodyBuffer& body);
  void set_timer();
  [[nodiscard]] std::optional<Clock::time_point> deadline() const;
  [[nodiscard]] std::optional<Clock::time_point> time_to_ask() const;
  void ask_for_the_rest_of_the_time(Clock::time_point now);

  // Bodies (stream_body.cc).
  [[nodiscard]] PhaseResult judge_body_access(const Incoming& incoming);
  [[nodiscard]] bool plugins_want(uint32_t phase) const {
    return chain_run_ && (chain_->phases() & EXTPROC_PHASE_BIT(phase)) != 0;
  }
  [[nodiscard]] bool run_body(const Incoming& incoming, uint32_t flags, bool headers_are_held,
                              http::BodyBuffer& body);
  [[nodiscard]] bool body_is_through(const Incoming& incoming, http::BodyBuffer& body);
  [[nodiscard]] bool has_room(bool fits);
  [[nodiscard]] uint64_t max_held_bytes() const { return generation_->config.server.limits.max_held_bytes; }
  [[nodiscard]] bool end_body_before_trailers(const Incoming& incoming);
  void let_headers_go(wire::Direction direction, Scratch& scratch);
  [[nodiscard]] bool headers_can_wait(const Incoming& incoming, bool end_of_stream);
  [[nodiscard]] bool is_upgrade();

  // Modes, and what is left to come (stream_modes.cc).
  void assume_stated_modes();
  void set_body_mode(wire::Direction direction, wire::BodyMode mode);
  [[nodiscard]] bool may_override_modes() const;
  [[nodiscard]] wire::BodyMode wished_mode(wire::Direction direction);
  [[nodiscard]] std::optional<wire::ModeOverride> choose_modes(const Incoming& incoming);
  [[nodiscard]] uint32_t phases_to_come() const;
  [[nodiscard]] bool nobody_wants_more();
  [[nodiscard]] bool may_drain(bool with_request_headers);
  [[nodiscard]] bool is_past_drain(wire::Direction direction) const;
  void end_early();

  void send_headers(wire::Direction direction, bool end_of_stream, Scratch& scratch,
                    std::optional<wire::ModeOverride> mode_override = {});
  void ask_for_time(Scratch& scratch);

  // Replies in pieces (stream_reply.cc).
  void begin_reply_in_pieces(LocalReply reply, Scratch& scratch);
  void go_on_replying(const Incoming& incoming);
  [[nodiscard]] bool show_to_plugins(const Incoming& incoming, const extproc_str& slice);
  [[nodiscard]] bool is_let_in(const Incoming& incoming);  // stream_overload.cc
  [[nodiscard]] bool choose_chain(const Incoming& incoming);
  void begin_chain(const Chain& chain);
  static const Chain& no_chain();
  void on_unknown_chain(const Incoming& incoming);
  void allow(const Incoming& incoming);
  void stop_after_reply();
  void reply_and_stop(const LocalReply& reply, Scratch& scratch);
  void deny_and_stop(uint32_t status, std::string details, Scratch& scratch);
  void protocol_error(const absl::Status& status);
  void over_limit(telemetry::Limit limit, const std::string& text);
  void finish(const absl::Status& status, telemetry::EndReason reason);
  void end_plugins(telemetry::EndReason reason, const absl::Status& status);
  [[nodiscard]] bool reply_possible(wire::Direction direction, Part part) const;
  Side& side(wire::Direction direction) { return sides_[static_cast<std::size_t>(direction)]; }
  [[nodiscard]] const Side& side(wire::Direction direction) const {
    return sides_[static_cast<std::size_t>(direction)];
  }

  const std::shared_ptr<const Generation> generation_;
  const telemetry::Metrics& metrics_;
  Sink& sink_;
  Exchange exchange_;
  HeldBytes held_bytes_;
  const Chain* chain_ = nullptr;  // null until the first message that has a phase
  std::optional<ChainRun> chain_run_;
  Outbound outbound_;
  std::array<Side, 2> sides_;
  bool may_override_modes_ = false;  // by the modes as they were configured
  bool body_does_not_wait_ = false;  // for the headers reply, so that no other mode can be asked for
  bool drains_ = false;
  std::unique_ptr<LocalReply> gathered_;  // a reply in pieces that goes out as one
  std::unique_ptr<Pending> pending_;      // null: nobody waits
  State state_ = State::kOpen;
  bool started_ = false;
  bool plugins_ended_ = false;
  Response response_ = Response::kNotSeen;
  Clock::time_point started_at_;
};

}  // namespace extprocd::engine
