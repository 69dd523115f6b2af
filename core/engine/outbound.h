#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/engine/chain_run.h"
#include "core/engine/exchange.h"
#include "core/engine/scratch.h"
#include "core/engine/seam.h"
#include "core/http/body_buffer.h"
#include "core/telemetry/metrics.h"
#include "core/wire/reply_writer.h"
#include "core/wire/request_view.h"

namespace extprocd::engine {

/// The way back to the data plane: for each message the one legal reply for its phase and body mode, cut and
/// held back as flow control asks. In observability mode nothing goes out at all. One thread at a time. Replies are
/// written in the Scratch of the message that is handled.
class Outbound {
 public:
  /// Pieces of a streamed_response; Envoy advises at most 64 KiB a message.
  static constexpr std::size_t kMaxPiece = std::size_t{62} * 1024;

  Outbound(Sink& sink, const telemetry::Metrics& metrics) : sink_(sink), metrics_(metrics) {}

  /// Takes in what the first message, which is in `scratch`, says of the stream. Answers flow_control_init, as gRFC A93
  /// demands: at once, or with the reply to request headers.
  void begin(Scratch& scratch);

  /// The body mode of a direction; nothing if the data plane did not say.
  [[nodiscard]] std::optional<wire::BodyMode> body_mode(wire::Direction direction) const {
    return modes_[index(direction)];
  }
  [[nodiscard]] bool observing() const { return observing_; }
  /// Is the data plane a gRPC client? Known by its body modes or its flow control.
  [[nodiscard]] bool grpc_data_plane() const { return grpc_data_plane_; }

  /// The mode of a direction that the data plane did not tell.
  void assume_body_mode(wire::Direction direction, wire::BodyMode mode) { modes_[index(direction)] = mode; }

  /// What a headers reply says beside the changes of the exchange.
  struct HeaderAnswer {
    bool body_may_change = false;  ///< so that a content-length would lie
    std::optional<wire::ModeOverride> mode_override = {};
    bool request_drain = false;  ///< see request_drain()
  };
  /// What becomes of a body message.
  struct BodyAnswer {
    http::BodyBuffer* bytes;  ///< that go on; in no other form than they came in, if not touched
    bool touched = false;
    bool answers_message =
        true;  ///< false: bytes that go on before the trailers do (full duplex and GRPC only)
  };

  /// Replies with the net difference of the exchange's map, its replacement body, metadata and route cache. Lets go what
  /// waited for it.
  void headers(wire::Direction direction, Exchange& exchange, const HeaderAnswer& answer, Scratch& scratch);
  /// From here on the replies of a direction wait for its headers reply, which comes later. Full duplex only.
  void hold_headers(wire::Direction direction, Scratch& scratch);
  [[nodiscard]] bool headers_held(wire::Direction direction) const {
    return waiting_ != nullptr && waiting_->headers[index(direction)];
  }
  /// Replies to the body message in `scratch`, whose bytes pass unchanged. False: more than `max_held` bytes of the
  /// stream would wait, those of one message aside.
  [[nodiscard]] bool body(wire::Direction direction, Exchange& exchange, std::size_t max_held,
                          Scratch& scratch);
  /// The same with a body that plugins had. Where the data plane still has the headers, their changes go along.
  [[nodiscard]] bool body(wire::Direction direction, Exchange& exchange, const BodyAnswer& answer,
                          std::size_t max_held, Scratch& scratch);
  void trailers(wire::Direction direction, Exchange& exchange, Scratch& scratch);
  /// Sends a local reply; drops whatever was held back.
  void immediate(const LocalReply& reply, Exchange& exchange, Scratch& scratch);
  /// The beginning of a local reply in pieces, and one more piece; ended by the reply that is complete.
  void begin_in_pieces(const LocalReply& reply, Exchange& exchange, Scratch& scratch);
  void one_more_piece(const LocalReply& piece, Scratch& scratch);

  /// Asks for more time to answer the message at hand; before its answer.
  void extend_timeout(uint64_t milliseconds, Scratch& scratch) {
    send(scratch.writer.override_message_timeout(milliseconds));
  }
  /// Asks the data plane to send the rest of its bodies past the server (gRPC data planes).
  void request_drain(Scratch& scratch) { send(scratch.writer.request_drain()); }

  /// Counts body bytes against the window that the data plane was given. False: it sent more than it may.
  [[nodiscard]] bool take_from_receive_window(wire::Direction direction, std::size_t bytes);
  /// The data plane gives back window; what was held back for want of it goes out. False: the numbers
  /// overflow.
  [[nodiscard]] bool add_to_send_windows(const wire::ClientWindowUpdate& update, Scratch& scratch);
  /// Sends all that was held back: a data plane that has half-closed can give back nothing any more.
  void send_held(Scratch& scratch);
  /// Does anything wait to go out?
  [[nodiscard]] bool has_waiting() const { return waiting_ != nullptr && waiting_->size > 0; }

 private:
  static constexpr std::size_t index(wire::Direction direction) {
    return static_cast<std::size_t>(direction);
  }

  /// Dynamic metadata that goes with a reply, encoded.
  struct Metadata {
    std::string dynamic;
    std::string typed;

    /// Borrows from this.
    [[nodiscard]] wire::Extras extras() const {
      wire::Extras extras;
      extras.dynamic_metadata = dynamic;
      extras.typed_dynamic_metadata = typed;
      return extras;
    }
  };

  /// A reply that waits for window, or for one that does.
  struct Held {
    bool is_body = false;
    std::string bytes;     // a body's own bytes, or an encoded reply
    std::size_t sent = 0;  // how many of a body's bytes have gone out
    wire::StreamedBody flags;
    Metadata metadata;

    /// What it costs in memory, in bytes.
    [[nodiscard]] std::size_t size() const { return sizeof(Held) + bytes.size(); }
  };

  /// What only a data plane with flow control needs.
  struct FlowControl {
    std::array<int64_t, 2> send_window{};
    std::array<int64_t, 2> receive_window{};
    std::array<int64_t, 2> unreturned{};  // bytes that came and for which no window was given back
  };

  /// Replies that cannot go out yet.
  struct Waiting {
    std::array<bool, 2> headers{};  // the headers reply itself is yet to come
    std::array<std::deque<Held>, 2> held;
    std::size_t size = 0;  // of both, with what an entry costs besides its bytes
  };

  void send(const wire::Pieces& encoded);
  [[nodiscard]] bool streamed_body(wire::Direction direction, const wire::StreamedBody& body,
                                   const wire::Extras& extras, std::size_t max_held,
                                   wire::ReplyWriter& writer);
  [[nodiscard]] bool is_holding(wire::Direction direction) const {
    return waiting_ != nullptr &&
           (waiting_->headers[index(direction)] || !waiting_->held[index(direction)].empty());
  }
  [[nodiscard]] bool is_over(std::size_t max_held) const {
    return waiting_ != nullptr && waiting_->size > max_held;
  }
  Waiting& waiting();
  void hold(wire::Direction direction, Held entry);
  [[nodiscard]] wire::Extras extras_with(const Metadata& metadata);
  [[nodiscard]] bool duplex_body(wire::Direction direction, Exchange& exchange, const BodyAnswer& answer,
                                 std::size_t max_held, Scratch& scratch);
  int64_t give_back(wire::Direction direction, int64_t most);
  void settle(wire::Direction direction, wire::ReplyWriter& writer);
  /// Sends as much of a body as the window allows; what is left of it.
  std::optional<wire::StreamedBody> send_pieces(wire::Direction direction, wire::StreamedBody body,
                                                wire::Extras extras, wire::ReplyWriter& writer);
  void flush(wire::Direction direction, wire::ReplyWriter& writer);
  static Metadata take_metadata(Exchange& exchange);
  [[nodiscard]] Metadata metadata_for(wire::Direction direction, Exchange& exchange);

  Sink& sink_;
  const telemetry::Metrics& metrics_;
  std::array<std::optional<wire::BodyMode>, 2> modes_;
  bool observing_ = false;
  bool grpc_data_plane_ = false;
  bool owes_window_update_ = false;            // with the reply to request headers
  std::unique_ptr<FlowControl> flow_control_;  // null where the data plane has none
  std::unique_ptr<Waiting> waiting_;           // null until something had to wait
};

}  // namespace extprocd::engine
