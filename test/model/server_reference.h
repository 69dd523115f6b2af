#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/model/filter_settings.h"
#include "test/model/plugin_plan.h"

namespace extprocd::model {

/// What the server owes for one message.
struct Owed {
  /// The reply to a message of a phase.
  struct Reply {
    envoy::service::ext_proc::v3::ProcessingResponse::ResponseCase kind{};
    bool streamed = false;  ///< the body comes back as streamed_response, maybe in pieces
    bool whole = false;     ///< but in one
    std::string bytes;
    bool end_of_stream = false;
    bool end_of_stream_without_message = false;
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

  bool window_update = false;  ///< flow_control_init is answered
  std::optional<Reply> reply;
  std::optional<Immediate> immediate;
  std::map<std::string, std::string> metadata;  ///< beside the reply
  std::optional<absl::StatusCode> end;          ///< the stream ends
};

/// Foretells what a server with a chain of planned plugins does with a stream, from the messages alone, in the plainest
/// way: no views, no undo, no net changes, no flow control. Shares no code with the engine.
class ServerReference {
 public:
  using ProcessingRequest = envoy::service::ext_proc::v3::ProcessingRequest;

  explicit ServerReference(const std::vector<PluginPlan>& plans);

  Owed receive(const std::string& bytes);
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
    return replacement_[index(side)];
  }

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
  struct Plugin {
    bool begun = false;
    bool done = false;
    std::array<std::uint32_t, EXTPROC_PHASE_COUNT> calls{};
  };
  /// What a failed plugin's changes are taken back to.
  struct Draft {
    std::vector<Step> changes;
    std::map<std::string, std::string> metadata;
    std::optional<std::string> replacement;
    bool clear_route_cache = false;
  };

  static Incoming split(const ProcessingRequest& message, Headers& headers);
  [[nodiscard]] bool in_order(const Incoming& incoming);
  void run_chain(const Incoming& incoming, Owed& owed);
  bool run_plugin(std::size_t position, const Incoming& incoming, Owed& owed);
  bool fail(std::size_t position, std::uint32_t code, Owed& owed);
  void reply(std::size_t position, Owed::Immediate immediate, Owed& owed);
  void answer(const Incoming& incoming, Owed& owed);
  std::uint32_t take(const Step& step, std::uint32_t phase);
  [[nodiscard]] std::uint32_t reply_status(const PhasePlan& what) const;
  [[nodiscard]] bool reply_possible(const Incoming& incoming) const;
  [[nodiscard]] bool refuses(std::uint32_t phase, const Step& step) const;
  [[nodiscard]] Headers visible(std::uint32_t phase) const;
  void end(absl::StatusCode code, std::uint32_t reason, Owed& owed);
  void end_plugins(std::uint32_t reason);
  void write(std::size_t position, const std::string& line) {
    log_.push_back("p" + std::to_string(position) + " " + line);
  }
  [[nodiscard]] BodyMode mode(Side side) const { return modes_[index(side)]; }

  const std::vector<PluginPlan> plans_;
  std::vector<Plugin> plugins_;
  std::vector<std::string> log_;
  std::vector<std::string> events_;

  Life life_ = Life::kOpen;
  bool first_ = true;
  bool observing_ = false;
  bool says_modes_ = false;
  bool grpc_data_plane_ = false;
  bool plugins_ended_ = false;
  std::array<BodyMode, 2> modes_{};
  std::array<Order, 2> order_{};
  std::array<bool, 2> closed_{};
  ResponseHeaders response_headers_ = ResponseHeaders::kNotSeen;

  std::array<Headers, EXTPROC_PHASE_COUNT> original_;
  std::array<std::vector<Step>, EXTPROC_PHASE_COUNT> changes_;
  std::array<std::optional<std::string>, 2> replacement_;
  bool can_reply_ = false;  // to the message at hand
  std::uint32_t map_ = 0;   // the phase at hand
  Draft draft_;             // of the phase at hand
};

}  // namespace extprocd::model
