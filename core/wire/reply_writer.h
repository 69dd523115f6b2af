#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/http/header_mutation.h"
#include "core/wire/direction.h"
#include "core/wire/encoder.h"
#include "core/wire/pieces.h"

namespace extprocd::wire {

/// ProcessingResponse.ServerWindowUpdate: signed increments in bytes.
struct ServerWindowUpdate {
  int64_t downstream_to_sidestream = 0;
  int64_t upstream_to_sidestream = 0;
};

/// What any reply may carry beside its answer.
struct Extras {
  std::string_view dynamic_metadata = {};  ///< an encoded Struct (DynamicMetadata::encode()); empty: none
  std::string_view typed_dynamic_metadata = {};  ///< encoded entries (DynamicMetadata::encode_typed())
  std::optional<ServerWindowUpdate> window_update = {};  ///< only to a data plane that sent flow_control_init
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
  /// One piece of the new body, which is not copied; only for FULL_DUPLEX_STREAMED and GRPC.
  [[nodiscard]] Pieces streamed_body(Direction direction, const StreamedBody& body,
                                     const Extras& extras = {});
  /// `mutation`: null or empty for unchanged.
  [[nodiscard]] std::string_view trailers(Direction direction, const http::HeaderMutation* mutation,
                                          const Extras& extras = {});
  /// Ends processing: nothing may be sent after it.
  [[nodiscard]] std::string_view immediate(const ImmediateReply& reply, const Extras& extras = {});
  /// A message that answers nothing; only to a data plane that sent flow_control_init.
  [[nodiscard]] std::string_view window_update(const ServerWindowUpdate& update);

 private:
  void put_mutation(uint32_t field, const http::HeaderMutation& mutation);
  void put_set_header(const http::SetHeader& header);
  void put_extras_behind(const Extras& extras);
  void put_window_update(const ServerWindowUpdate& update);

  Encoder out_;
  bool grpc_data_plane_ = false;
};

}  // namespace extprocd::wire
