#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/model/body_call.h"
#include "test/model/filter_settings.h"
#include "test/model/plugin_plan.h"

namespace extprocd::model {

/// What the server owes for one message.
struct Owed {
  /// The reply to a message of a phase.
  struct Reply {
    envoy::service::ext_proc::v3::ProcessingResponse::ResponseCase kind{};
    bool streamed = false;         ///< the body comes back as streamed_response, maybe in pieces
    bool messages = false;         ///< one for each gRPC message
    Pieces body;                   ///< that goes on, of a body message
    std::string original;          ///< that came, of a body message
    bool may_mutate_body = false;  ///< a plugin may have changed, held or let go something
    bool may_mutate_headers = false;
    bool end_of_stream = false;
    std::optional<std::string> replacement;  ///< CONTINUE_AND_REPLACE with this body
    bool clear_route_cache = false;
  };
  struct Immediate {
    std::uint32_t status = 0;
    std::string body;
    std::string details;
    std::int32_t grpc_status = -1;
    Headers headers;
  };

  bool window_update = false;            ///< flow_control_init is answered
  std::vector<Reply> replies;            ///< in this order
  std::vector<std::uint64_t> more_time;  ///< override_message_timeout, in milliseconds
  std::optional<Immediate> immediate;
  std::map<std::string, std::string> metadata;  ///< beside the replies
  std::optional<absl::StatusCode> end;          ///< the stream ends, behind the replies
  std::string why;                              ///< with this text, if it has to have one
};

/// Simulated time, in milliseconds.
using Time = std::uint64_t;

/// How the wait of a plugin came to its end.
struct WaitEnd {
  enum class Kind : std::uint8_t { kResumed, kTimeout, kDeadline };
  Kind kind = Kind::kResumed;
  std::uint64_t token = 0;
  Time at = 0;
};

/// A plugin that waits.
struct Wait {
  std::size_t suspension = 0;  ///< which of the stream's
  std::size_t position = 0;    ///< of the plugin
  std::uint32_t phase = 0;
  std::optional<Time> until;   ///< by the plugin's own timeout
  std::optional<Time> resume;  ///< when it is resumed by its own timer
  std::uint64_t token = 0;     ///< with this
};

/// How the server is set up, as far as it changes what it does with a stream.
struct ServerSetup {
  /// data_plane.request_body_mode and response_body_mode: what counts where the data plane does not tell.
  std::array<std::optional<BodyMode>, 2> stated_modes;
  bool early_end = true;                                  ///< data_plane.early_end
  std::uint64_t max_held_bytes = std::uint64_t{4} << 20;  ///< server.limits.max_held_bytes
  Time deadline = 0;                                      ///< of the chain; 0: none
  Time message_timeout = 0;                               ///< data_plane.message_timeout
  Time max_message_timeout = 0;                           ///< data_plane.max_message_timeout
};

/// Foretells what a server with a chain of planned plugins does with a stream, from the messages alone, in the plainest
/// way: no views, no undo, no net changes, no flow control, bodies as strings. Shares no code with the engine.
class ServerReference {
 public:
  using ProcessingRequest = envoy::service::ext_proc::v3::ProcessingRequest;

  /// `plans` outlive the reference.
  ServerReference(const std::vector<PluginPlan>& plans, ServerSetup setup);

  /// A message that comes at some time. `ends`: how the waits that come up while it is handled end, one after the other.
  /// Where there are more waits than that, the handling stops, and the rest is undefined: waiting() says for what.
  /// `asked`: when the data plane was asked for more time on nobody's behalf, if it was.
  Owed receive(const std::string& bytes, Time now = 0, const std::vector<WaitEnd>& ends = {},
               std::optional<Time> asked = {});
  [[nodiscard]] const std::optional<Wait>& waiting() const { return waiting_; }
  /// How many suspensions there were, and those that a callback resumed itself, with what.
  [[nodiscard]] std::size_t suspensions() const { return suspensions_; }
  [[nodiscard]] const std::vector<std::pair<std::size_t, std::uint64_t>>& resumed_at_once() const {
    return resumed_at_once_;
  }
  /// Can the data plane be asked for more time to answer the message that waits?
  [[nodiscard]] bool can_ask_for_time() const {
    return has_timer_ && setup_.max_message_timeout != 0 && !asked_by_plugin_;
  }
  Owed half_close();
  void cancel(bool shutdown);

  /// What the plugins must have seen and been told, line by line.
  [[nodiscard]] const std::vector<std::string>& log() const { return log_; }
  /// What happened that a test wants to have met.
  [[nodiscard]] const std::vector<std::string>& events() const { return events_; }

  /// The changes to a header map (by phase) that must have taken effect, in order.
  [[nodiscard]] const std::vector<Step>& changes(std::uint32_t phase) const { return changes_[phase]; }
  /// The body that takes the place of the original one.
  [[nodiscard]] const std::optional<std::string>& replacement(Side side) const {
    return flows_[index(side)].replacement;
  }
  /// What the server let go of a direction's body, and how much of the original it was given for that.
  [[nodiscard]] const Pieces& let_go(Side side) const { return flows_[index(side)].let_go; }
  [[nodiscard]] const Pieces& received(Side side) const { return flows_[index(side)].received; }
  /// Did the server take content-length away, because the body might become another?
  [[nodiscard]] bool without_length(Side side) const { return flows_[index(side)].without_length; }
  /// Did the headers wait, so that it may have known better by then?
  [[nodiscard]] bool headers_waited(Side side) const { return flows_[index(side)].waited; }
  /// Did the server end the stream because nobody wanted what was left?
  [[nodiscard]] bool ended_early() const { return ended_early_; }

  /// Applies changes to headers, as a plugin's author would expect.
  static void change(Headers& headers, const std::vector<Step>& steps);

 private:
  enum class Life : std::uint8_t { kOpen, kReplied, kOver };
  enum class Order : std::uint8_t { kIdle, kOpen, kEnded };
  enum class ResponseHeaders : std::uint8_t { kNotSeen, kHeld, kGone };

  struct Incoming {
    Side side;
    std::uint32_t phase;
    bool end_of_stream;
    std::string body;
    bool end_without_message;
  };
  /// A plugin on this stream.
  struct Plugin {
    bool begun = false;
    bool done = false;
    std::uint32_t unwanted = 0;  // phases
    std::array<std::uint32_t, EXTPROC_PHASE_COUNT> calls{};
    std::array<Pieces, 2> held;
    std::array<bool, 2> waits{};  // with the headers
  };
  /// One direction of the stream.
  struct Flow {
    Order order = Order::kIdle;
    bool closed = false;  // its body was replaced
    bool access_judged = false;
    bool headers_came = false;
    bool end_told = false;               // to the plugins, of the body
    std::optional<Owed::Reply> waiting;  // the reply to headers that wait for the body
    Pieces behind;                       // what is to go on behind them
    std::optional<std::string> replacement;
    bool without_length = false;
    bool waited = false;
    Pieces received;
    Pieces let_go;
  };
  /// What a failed plugin's changes are taken back to.
  struct Draft {
    std::vector<Step> changes;
    std::map<std::string, std::string> metadata;
    std::optional<std::string> replacement;
    bool clear_route_cache = false;
  };
  static constexpr std::uint32_t kUnknown = 2;
  static constexpr std::uint32_t kDeadlineExceeded = 4;
  static constexpr std::uint32_t kFailedPrecondition = 9;
  /// Thrown where a plugin waits and it is not known yet how that ends.
  struct Waits {};
  enum class Went : std::uint8_t { kOn, kHeld, kFailed, kStopped };

  void take(const std::string& bytes, Owed& owed);
  static Incoming split(const ProcessingRequest& message, Headers& headers);
  void take_in_first(const ProcessingRequest& message, Owed& owed);
  [[nodiscard]] bool in_order(const Incoming& incoming);
  void on_headers(const Incoming& incoming, Owed& owed);
  void on_body(const Incoming& incoming, Owed& owed);
  void on_trailers(const Incoming& incoming, Owed& owed);
  void begin_phase(Side side, std::uint32_t phase);
  [[nodiscard]] bool judge_access(Side side, Owed& owed);
  [[nodiscard]] bool run_chain(std::uint32_t phase, std::uint32_t flags, Owed& owed);
  [[nodiscard]] bool run_body(Side side, std::uint32_t flags, bool empty, Pieces& body, Owed& owed);
  [[nodiscard]] bool run_stage(std::size_t position, Side side, std::uint32_t flags, Pieces& body,
                               Owed& owed);
  Went call(std::size_t position, std::uint32_t phase, std::uint32_t flags, BodyCall* body, Owed& owed);
  void take_steps(std::size_t position, std::uint32_t phase, const std::vector<Step>& steps, BodyCall* body);
  [[nodiscard]] bool suspends(std::size_t position, std::uint32_t phase, std::size_t number, Time began);
  WaitEnd wait(Owed& owed);
  std::uint32_t extend(std::size_t millis);
  void ask_for_time(Owed& owed);
  [[nodiscard]] std::string why_too_late(std::size_t position, std::uint32_t phase, const WaitEnd& end) const;
  [[nodiscard]] bool fail(std::size_t position, std::uint32_t code, Owed& owed, bool can_skip = true);
  [[nodiscard]] bool too_large(std::size_t position, Side side, Owed& owed);
  void reply(std::size_t position, Owed::Immediate immediate, Owed& owed);
  void keep_changes(std::uint32_t phase);
  void let_go(Side side, Pieces body, bool end_of_stream, Owed& owed);
  void stop_waiting(Side side);
  void send(Owed::Reply reply, Owed& owed);
  void end_early(Owed& owed);
  [[nodiscard]] bool body_comes(Side side) const;
  [[nodiscard]] bool nobody_wants_more() const;
  std::uint32_t take(std::size_t position, const Step& step, std::uint32_t phase, BodyCall* body);
  [[nodiscard]] std::uint32_t edit(const Step& step, std::uint32_t phase);
  [[nodiscard]] std::uint32_t reply_status(const PhasePlan& what) const;
  [[nodiscard]] bool reply_possible(Side side, std::uint32_t phase) const;
  [[nodiscard]] bool refuses(std::uint32_t phase, const Step& step) const;
  [[nodiscard]] bool headers_held(Side side) const;
  [[nodiscard]] bool headers_can_wait(Side side, bool body_follows) const;
  [[nodiscard]] bool loses_content_length(Side side) const;
  [[nodiscard]] bool changes_body(Side side) const;
  [[nodiscard]] bool somebody_waits(Side side) const;
  [[nodiscard]] bool upgrades() const;
  [[nodiscard]] bool wants(std::size_t position, std::uint32_t phase) const;
  [[nodiscard]] Headers visible(std::uint32_t phase) const;
  void end(absl::StatusCode code, std::uint32_t reason, Owed& owed);
  void end_plugins(std::uint32_t reason);
  void write(std::size_t position, const std::string& line) {
    log_.push_back("p" + std::to_string(position) + " " + line);
  }
  [[nodiscard]] std::size_t position_of(std::size_t step, Side side) const {
    return side == Side::kResponse ? plans_.size() - 1 - step : step;
  }
  [[nodiscard]] std::optional<BodyMode> mode(Side side) const { return modes_[index(side)]; }
  [[nodiscard]] bool of_messages(Side side) const { return mode(side) == ProcessingMode::GRPC; }
  [[nodiscard]] bool streams(Side side) const { return mode(side) && is_duplex(*mode(side)); }
  Flow& flow(Side side) { return flows_[index(side)]; }
  [[nodiscard]] const Flow& flow(Side side) const { return flows_[index(side)]; }

  const std::vector<PluginPlan>& plans_;
  const ServerSetup setup_;
  std::vector<Plugin> plugins_;
  std::vector<std::string> log_;
  std::vector<std::string> events_;

  Time time_ = 0;
  std::vector<WaitEnd> ends_;  // of the message at hand
  std::size_t ended_ = 0;      // waits
  std::optional<Wait> waiting_;
  std::size_t suspensions_ = 0;
  std::vector<std::pair<std::size_t, std::uint64_t>> resumed_at_once_;
  bool has_timer_ = false;          // the data plane, for the message at hand
  std::optional<Time> asked_;       // for more time, on nobody's behalf
  std::optional<Time> to_ask_for_;  // that a plugin wants
  bool asked_by_plugin_ = false;
  std::string why_;  // of the failure at hand, where its text is foretold

  Life life_ = Life::kOpen;
  bool first_ = true;
  bool observing_ = false;
  bool grpc_data_plane_ = false;
  bool plugins_ended_ = false;
  bool ended_early_ = false;
  std::array<std::optional<BodyMode>, 2> modes_{};
  std::array<Flow, 2> flows_;
  ResponseHeaders response_headers_ = ResponseHeaders::kNotSeen;

  std::array<Headers, EXTPROC_PHASE_COUNT> original_;
  std::array<bool, EXTPROC_PHASE_COUNT> came_{};
  std::array<std::vector<Step>, EXTPROC_PHASE_COUNT> changes_;
  std::map<std::string, std::string> metadata_;  // to go beside the next reply
  bool clear_route_cache_ = false;               // likewise
  bool can_reply_ = false;                       // to the message at hand
  bool carried_ = true;                          // by its answer: what goes on of a body
  std::uint32_t map_ = 0;                        // that can be changed now
  Draft draft_;                                  // of the phase at hand
};

}  // namespace extprocd::model
