#pragma once

#include <string>

#include "absl/status/status.h"

namespace extprocd::transport {

/// Asks the gRPC health of the server at `address` (as in server.listen), for at most 3 s. OK: it is serving.
absl::Status probe(const std::string& address);

}  // namespace extprocd::transport
