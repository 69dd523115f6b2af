#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "core/config/config.h"
#include "core/telemetry/metrics.h"
#include "core/transport/server.h"
#include "core/transport/services.h"

namespace extprocd::server {

/// Starts the transport that [server] names, as it says. `metrics` and `services` outlive it.
absl::StatusOr<std::unique_ptr<transport::Server>> start_transport(const config::Server& config,
                                                                   const telemetry::Metrics& metrics,
                                                                   const transport::Services& services);

}  // namespace extprocd::server
