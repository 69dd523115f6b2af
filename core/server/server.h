#pragma once

#include "absl/status/status.h"

#include "core/config/config.h"

namespace extprocd::server {

/// Runs the server until SIGTERM or SIGINT, then drains: health NOT_SERVING, a grace period, GOAWAY, open
/// streams finish, and what is still open at the deadline is cancelled. Returns OK after that, or why it
/// could not start; what is wrong with plugins has been printed then. Call from main's thread before any
/// other thread exists.
absl::Status serve(const config::Config& config);

/// Loads what the configuration names and prints the chain. False after printing what is wrong.
bool check(const config::Config& config);

}  // namespace extprocd::server
