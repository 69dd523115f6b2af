#pragma once

#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/engine/generation.h"

namespace extprocd::server {

/// The chains as a person reads them: who gets each, its plugins with module, version, hash, policy and phases, and
/// the settings of Envoy's filter that fit.
std::string describe(const engine::Generation& generation);

/// When new streams are refused, and how: "off", "deny with status 503 at 1000 streams, 50 waiting callbacks".
std::string overload_text(const config::Overload& overload);

/// What the configuration has but no stream can ever reach, each at its place: chains behind wider ones, plugins in
/// no chain, conditions that cannot hold.
std::vector<config::Diagnostic> never_reached(const engine::Generation& generation);

}  // namespace extprocd::server
