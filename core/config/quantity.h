#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace extprocd::config {

/// "64MiB", "500KB", "4096": bytes. Units: B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
/// Nothing if it is not that, or does not fit.
std::optional<uint64_t> parse_size(std::string_view text);

/// "500ms", "2.5s", "1m", "1h": seconds. Nothing if it is not that, or is negative.
std::optional<double> parse_duration(std::string_view text);

}  // namespace extprocd::config
