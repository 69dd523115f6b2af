#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace extprocd::transport {

/// How a probe speaks TLS. The server's certificate is not checked: a probe asks whether its own server is well.
struct ProbeTls {
  std::string certificate;  ///< PEM file with what the probe shows of itself; empty: nothing
  std::string key;          ///< PEM file with its key
};

/// Asks the gRPC health of the server at `address` (as in server.listen), for at most 3 s; without `tls` in plain text.
/// OK: it is serving.
absl::Status probe(const std::string& address, const std::optional<ProbeTls>& tls = std::nullopt);

}  // namespace extprocd::transport
