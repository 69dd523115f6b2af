#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace extprocd::config {

/// A place to listen on or to connect to.
struct Address {
  enum class Kind : uint8_t { kTcp, kUnix };
  Kind kind = Kind::kTcp;
  std::string host;   ///< kTcp: a name or an IP address, without brackets
  uint16_t port = 0;  ///< kTcp; 0 = the system chooses
  std::string path;   ///< kUnix: absolute

  /// "host:port", "[v6]:port" or "unix:/path".
  [[nodiscard]] std::string to_string() const;
};

/// Reads "host:port", "[::1]:port", ":port" (all interfaces) or "unix:/path". INVALID_ARGUMENT says what to
/// write.
absl::StatusOr<Address> parse_address(std::string_view text);

}  // namespace extprocd::config
