#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "core/config/config.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/server.h"
#include "core/transport/services.h"

namespace extprocd::server {

/// Is [server.tls] possible, its files included? OK without such a table. Errors have its place.
absl::Status check_tls(const config::Config& config);

/// Starts the transport that [server] names, as it says. What it is given besides the configuration
/// outlives it.
absl::StatusOr<std::unique_ptr<transport::Server>> start_transport(const config::Server& config,
                                                                   telemetry::Registry& registry,
                                                                   const telemetry::Metrics& metrics,
                                                                   const transport::Services& services);

}  // namespace extprocd::server
