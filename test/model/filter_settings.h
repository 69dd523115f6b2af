#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "envoy/extensions/filters/http/ext_proc/v3/processing_mode.pb.h"

namespace extprocd::model {

using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
using BodyMode = ProcessingMode::BodySendMode;

enum class Side : std::uint8_t { kRequest, kResponse };

constexpr std::size_t index(Side side) { return static_cast<std::size_t>(side); }

/// processing_mode of one direction.
struct SideSettings {
  bool send_headers = true;
  BodyMode body = ProcessingMode::NONE;
  bool send_trailers = false;  ///< FULL_DUPLEX_STREAMED demands it
};

/// flow_control_init of a gRPC data plane, in bytes.
struct Windows {
  std::int64_t downstream_to_sidestream = 0;
  std::int64_t sidestream_to_upstream = 0;
  std::int64_t upstream_to_sidestream = 0;
  std::int64_t sidestream_to_downstream = 0;
};

/// Configuration of the ext_proc filter, as far as it changes what the server sees or may answer.
struct FilterSettings {
  std::array<SideSettings, 2> sides;
  bool send_body_without_waiting_for_header_response = false;  ///< STREAMED requests only
  bool observability_mode = false;
  bool sends_protocol_config = true;  ///< Envoy since 1.34
  bool allow_mode_override = false;
  bool allow_content_length_header = false;
  bool grpc_data_plane = false;    ///< gRFC A93: other rules for header mutations
  std::optional<Windows> windows;  ///< gRPC data planes only
  std::size_t buffer_limit = std::size_t{1} << 20;
  std::set<std::string> withheld;  ///< names that forward_rules keep from the server

  [[nodiscard]] const SideSettings& side(Side side) const { return sides[index(side)]; }
};

constexpr bool is_duplex(BodyMode mode) {
  return mode == ProcessingMode::FULL_DUPLEX_STREAMED || mode == ProcessingMode::GRPC;
}

}  // namespace extprocd::model
