#pragma once

#include "absl/status/status.h"

#include "core/config/address.h"

namespace extprocd::transport {

/// Makes sure that an address can be listened on, since grpc++ says only that it could not: tries to bind,
/// and removes a Unix socket that nobody listens on any more. Errors name the address and the cause.
absl::Status prepare_to_listen(const config::Address& address);

}  // namespace extprocd::transport
