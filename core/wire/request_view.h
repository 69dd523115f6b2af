#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "core/wire/body_mode.h"

namespace extprocd::wire {

/// Which member of ProcessingRequest.request is set. kNone: a message without a phase, such as a bare window
/// update.
enum class MessageKind : uint8_t {
  kNone,
  kRequestHeaders,
  kRequestBody,
  kRequestTrailers,
  kResponseHeaders,
  kResponseBody,
  kResponseTrailers
};

/// A HeaderValue. `value` is raw_value if that is not empty, else `value`: Envoy fills only raw_value, gRPC
/// data planes may fill the other (gRFC A102).
struct HeaderView {
  std::string_view name;
  std::string_view value;
};

/// ProtocolConfiguration. A mode that we do not know is kNone; its number tells which it was.
struct ProtocolConfig {
  BodyMode request_body_mode = BodyMode::kNone;
  BodyMode response_body_mode = BodyMode::kNone;
  bool send_body_without_waiting_for_header_response = false;
  int32_t request_body_mode_number = 0;
  int32_t response_body_mode_number = 0;
};

/// ProcessingRequest.FlowControlInit: the four windows at the start, in bytes.
struct FlowControlInit {
  int64_t downstream_to_sidestream = 0;
  int64_t sidestream_to_upstream = 0;
  int64_t upstream_to_sidestream = 0;
  int64_t sidestream_to_downstream = 0;
};

/// ProcessingRequest.ClientWindowUpdate: signed increments in bytes.
struct ClientWindowUpdate {
  int64_t sidestream_to_upstream = 0;
  int64_t sidestream_to_downstream = 0;
};

/// HttpBody.
struct BodyView {
  std::string_view body;
  bool end_of_stream = false;                  ///< the last body message, and no trailers follow
  bool end_of_stream_without_message = false;  ///< GRPC mode only
  bool grpc_message_compressed = false;        ///< GRPC mode only
  bool drain_complete = false;
};

/// A ProcessingRequest, read straight from its wire form: nothing is copied, all views point into the bytes,
/// which the caller keeps alive while it uses them. One object serves a whole stream; once warm, parsing
/// allocates nothing.
///
/// It accepts and refuses exactly what protobuf's C++ classes do and sees the same contents, with one
/// exception: attributes and metadata_context are handed out unread (AttributeReader and MetadataReader read
/// them), so an error inside them is not an error here. The deprecated HttpHeaders.attributes, which nobody
/// fills, is not looked at.
class RequestView {
 public:
  /// Reads a message in place of the earlier one. INVALID_ARGUMENT says what is wrong at which byte; the
  /// contents are then unspecified. Of headers, attributes and metadata at most so many entries each are kept,
  /// the rest is read and counted: a view is many times as large as the smallest entry.
  [[nodiscard]] absl::Status parse(std::string_view bytes,
                                   std::size_t max_entries = std::numeric_limits<std::size_t>::max());

  [[nodiscard]] MessageKind kind() const { return kind_; }

  /// Entries of a headers or trailers message in their order; empty for other kinds.
  [[nodiscard]] std::span<const HeaderView> headers() const { return headers_; }
  /// How many there are in the message.
  [[nodiscard]] std::size_t header_count() const { return header_count_; }
  /// A part of the message that has all names and values of headers().
  [[nodiscard]] std::string_view header_bytes() const { return header_bytes_; }
  /// Has any name in headers() a letter from A to Z? Data planes send them in lower case.
  [[nodiscard]] bool has_upper_case_names() const { return has_upper_case_names_; }
  /// The contents of a body message; empty for other kinds.
  [[nodiscard]] const BodyView& body() const { return body_; }
  /// end_of_stream of a headers or body message: nothing more of this direction follows. False for other
  /// kinds, though trailers always are the end.
  [[nodiscard]] bool end_of_stream() const { return headers_end_of_stream_ || body_.end_of_stream; }

  /// The data plane only shows the traffic and must not be answered.
  [[nodiscard]] bool observability_mode() const { return observability_mode_; }
  /// In a stream's first message only, whatever its kind; Envoy leaves it out in observability mode.
  [[nodiscard]] const std::optional<ProtocolConfig>& protocol_config() const { return protocol_config_; }
  /// In a stream's first message only; gRPC data planes send it, Envoy does not.
  [[nodiscard]] const std::optional<FlowControlInit>& flow_control_init() const { return flow_control_init_; }
  [[nodiscard]] const std::optional<ClientWindowUpdate>& client_window_update() const {
    return client_window_update_;
  }

  /// Encoded entries of the map `attributes`, for AttributeReader::add().
  [[nodiscard]] std::span<const std::string_view> attributes() const { return attributes_; }
  /// Encoded occurrences of `metadata_context` (at most one comes in practice), for MetadataReader::update().
  [[nodiscard]] std::span<const std::string_view> metadata_context() const { return metadata_context_; }
  /// How many entries of attributes and occurrences of metadata_context there are in the message.
  [[nodiscard]] std::size_t attribute_count() const { return attribute_count_; }

 private:
  class Parser;

  MessageKind kind_ = MessageKind::kNone;
  bool observability_mode_ = false;
  bool headers_end_of_stream_ = false;
  bool has_upper_case_names_ = false;
  std::vector<HeaderView> headers_;
  std::string_view header_bytes_;
  BodyView body_;
  std::optional<ProtocolConfig> protocol_config_;
  std::optional<FlowControlInit> flow_control_init_;
  std::optional<ClientWindowUpdate> client_window_update_;
  std::vector<std::string_view> attributes_;
  std::vector<std::string_view> metadata_context_;
  std::size_t max_entries_ = 0;
  std::size_t header_count_ = 0;
  std::size_t attribute_count_ = 0;
};

}  // namespace extprocd::wire
