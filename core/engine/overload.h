#pragma once

#include <optional>
#include <string>

#include "core/config/config.h"
#include "core/telemetry/metrics.h"

namespace extprocd::engine {

/// Which limit of [server.overload] leaves no room for the stream that is about to begin, and is open already; nothing if
/// there is room. Reads only what a limit is set for. Any thread.
std::optional<telemetry::OverloadLimit> exceeded_limit(const config::Overload& overload,
                                                       const telemetry::Metrics& metrics);

/// Counts a stream that was not begun, by what became of it, and writes a line at most once a second. Returns the text for
/// the data plane.
std::string report_overload(const config::Overload& overload, telemetry::OverloadLimit limit,
                            config::FailurePolicy applied, const telemetry::Metrics& metrics);

}  // namespace extprocd::engine
