#include "core/config/data_plane_reader.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace extprocd::config {
namespace {

using wire::BodyMode;

constexpr double kLongestTimeout = 3600;  // Envoy's own bound

constexpr std::array<std::string_view, 6> kBodyModes = {to_string(BodyMode::kNone),
                                                        to_string(BodyMode::kStreamed),
                                                        to_string(BodyMode::kBuffered),
                                                        to_string(BodyMode::kBufferedPartial),
                                                        to_string(BodyMode::kFullDuplexStreamed),
                                                        to_string(BodyMode::kGrpc)};

void read_mode(TableReader& table, std::string_view key, std::optional<BodyMode>& mode) {
  std::string word;
  table.get(key, word, kBodyModes);
  const auto* const found = std::ranges::find(kBodyModes, word);
  if (found != kBodyModes.end()) mode = static_cast<BodyMode>(found - kBodyModes.begin());
}

}  // namespace

void read_data_plane(TableReader& table, DataPlane& data_plane) {
  read_mode(table, "request_body_mode", data_plane.request_body_mode);
  read_mode(table, "response_body_mode", data_plane.response_body_mode);
  table.get("allow_mode_override", data_plane.allow_mode_override);
  table.get("streamed_immediate_response", data_plane.streamed_immediate_response);
  table.get("early_end", data_plane.early_end);
  table.get_duration_or_off("message_timeout", data_plane.message_timeout, 0.001, kLongestTimeout);
  table.get_duration_or_off("max_message_timeout", data_plane.max_message_timeout, 0.001, kLongestTimeout);
}

}  // namespace extprocd::config
