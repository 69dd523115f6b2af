#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/http/header_mutation.h"
#include "core/wire/body_mode.h"
#include "core/wire/direction.h"
#include "core/wire/encoder.h"
#include "core/wire/pieces.h"

namespace extprocd::wire {

/// ProcessingResponse.ServerWindowUpdate: signed increments in bytes.
struct ServerWindowUpdate {
  int64_t downstream_to_sidestream = 0;
  int64_t upstream_to_sidestream = 0;
};

/// ProcessingMode.HeaderSendMode, with its numbers.
enum class SendMode : uint8_t { kDefault = 0, kSend = 1, kSkip = 2 };

/// A mode_override. Body modes are always written: Envoy takes one that is left out for NONE.
struct ModeOverride {
  SendMode response_headers = SendMode::kDefault;  ///< kDefault: unchanged
  BodyMode request_body = BodyMode::kNone;
  BodyMode response_body = BodyMode::kNone;
  SendMode request_trailers = SendMode::kDefault;
  SendMode response_trailers = SendMode::kDefault;
};

/// What any reply may carry beside its answer.
struct Extras {
  std::string_view dynamic_metadata = {};  ///< an encoded Struct (DynamicMetadata::encode()); empty: none
  std::string_view typed_dynamic_metadata = {};  ///< encoded entries (DynamicMetadata::encode_typed())
  std::optional<ServerWindowUpdate> window_update = {};  ///< only to a data plane that sent flow_control_init
  std::optional<ModeOverride> mode_override = {};        ///< Envoy heeds it only beside answers to headers
  /// The data plane is asked to send the rest of its bodies past the server. In both its forms: request_drain, which
  /// grpc-go 1.85 knows, and request_drain_requests and _responses of API v1.40.
  bool request_drain = false;
};

/// The answer to request_headers or response_headers.
struct HeaderReply {
  const http::HeaderMutation* mutation = nullptr;  ///< null or empty: unchanged
  /// Request direction only, dropped for responses. Envoy heeds it only beside a header mutation, so an empty
  /// one is sent if there is none.
  bool clear_route_cache = false;
  /// CONTINUE_AND_REPLACE with this body (maybe empty); the data plane then sends nothing more of this
  /// direction.
  std::optional<std::string_view> replace_body = {};
};

/// The answer to request_body or response_body outside of FULL_DUPLEX_STREAMED and GRPC.
struct BodyReply {
  /// Of the headers, which the data plane still holds (BUFFERED, BUFFERED_PARTIAL); null or empty: unchanged.
  const http::HeaderMutation* mutation = nullptr;
  bool clear_route_cache = false;  ///< as in HeaderReply
  std::optional<std::string_view> replace =
      {};  ///< with these bytes, which are not copied; empty: none go on
};

/// A StreamedBodyResponse.
struct StreamedBody {
  std::string_view bytes = {};
  bool end_of_stream = false;
  bool end_of_stream_without_message = false;  ///< GRPC mode only
  bool grpc_message_compressed = false;        ///< GRPC mode only
  bool drain_complete = false;
};

/// An ImmediateResponse.
struct ImmediateReply {
  uint32_t status = 0;                             ///< HTTP status; Envoy makes 200 of anything below 200
  const http::HeaderMutation* mutation = nullptr;  ///< of the default headers of a local reply
  std::string_view body = {};
  std::optional<uint32_t> grpc_status = {};  ///< for gRPC requests
  std::string_view details = {};             ///< RESPONSE_CODE_DETAILS; bytes that are not UTF-8 are replaced
};

/// Writes ProcessingResponse messages, one at a time, into one buffer that is used again.
///
/// Header values go into raw_value, the only one that Envoy reads. `append` and the equal `append_action` are
/// both written: Envoy looks only at the first, gRPC only at the second. Names must be UTF-8, as header
/// syntax ensures.
///
/// Each function returns the encoded message, valid until the next call. One thread at a time.
class ReplyWriter {
 public:
  /// For a gRPC data plane `value` is written too, where it can be: grpc-go reads it for all names but those
  /// in -bin.
  void set_grpc_data_plane(bool is_grpc) { grpc_data_plane_ = is_grpc; }
  /// Bytes that are kept from reply to reply: about as many as the largest one had.
  [[nodiscard]] std::size_t buffer_size() const { return out_.buffer_size(); }

  [[nodiscard]] std::string_view headers(Direction direction, const HeaderReply& reply,
                                         const Extras& extras = {});
  /// The empty answer to a body message: it passes unchanged. Not for FULL_DUPLEX_STREAMED and GRPC.
  [[nodiscard]] std::string_view body(Direction direction, const Extras& extras = {});
  /// An answer that changes something.
  [[nodiscard]] Pieces body(Direction direction, const BodyReply& reply, const Extras& extras = {});
  /// One piece of the new body, which is not copied; only for FULL_DUPLEX_STREAMED and GRPC.
  [[nodiscard]] Pieces streamed_body(Direction direction, const StreamedBody& body,
                                     const Extras& extras = {});
  /// `mutation`: null or empty for unchanged.
  [[nodiscard]] std::string_view trailers(Direction direction, const http::HeaderMutation* mutation,
                                          const Extras& extras = {});
  /// Ends processing: nothing may be sent after it.
  [[nodiscard]] std::string_view immediate(const ImmediateReply& reply, const Extras& extras = {});
  /// The parts of a local reply in pieces: its status and headers, its body, and its trailers, which end it. The
  /// headers are the whole of them, as `set` has them: pseudo-header :status comes from `reply`.
  [[nodiscard]] std::string_view streamed_immediate_headers(const ImmediateReply& reply, bool end_of_stream,
                                                            const Extras& extras = {});
  [[nodiscard]] Pieces streamed_immediate_body(std::string_view bytes, bool end_of_stream);
  [[nodiscard]] std::string_view streamed_immediate_trailers(std::span<const http::SetHeader> trailers);
  /// Asks for more time to answer; a message of its own, because Envoy reads nothing else of it.
  [[nodiscard]] std::string_view override_message_timeout(uint64_t milliseconds);
  /// A message that answers nothing; only to a data plane that sent flow_control_init.
  /// Extras::request_drain without a reply.
  [[nodiscard]] std::string_view request_drain();
  [[nodiscard]] std::string_view window_update(const ServerWindowUpdate& update);

 private:
  void put_mutation(uint32_t field, const http::HeaderMutation& mutation);
  void put_set_header(const http::SetHeader& header);
  void put_extras_behind(const Extras& extras);
  void put_mode_override(const ModeOverride& mode);
  void put_header_value(const http::SetHeader& header);
  void put_header_map(uint32_t field, std::span<const http::SetHeader> headers,
                      std::optional<uint32_t> status);
  void put_window_update(const ServerWindowUpdate& update);

  Encoder out_;
  bool grpc_data_plane_ = false;
};

}  // namespace extprocd::wire
