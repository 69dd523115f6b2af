#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/engine/generation.h"
#include "core/engine/worker_pool.h"
#include "core/plugin/module.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"

namespace extprocd::server {

/// What building gave: a generation, or all that is wrong with the plugins at once.
struct BuildResult {
  std::shared_ptr<engine::Generation> generation;  ///< null if there are errors
  std::vector<config::Diagnostic> errors;
};

/// Loads the modules that a configuration names, creates the plugins and compiles the chains. Nothing is
/// published. A plugin that is in no chain is not loaded. `registry`, `metrics` and `workers` outlive the generation;
/// without workers all callbacks run on the streams' threads, and no work is taken. Call from one thread, not from a
/// transport's.
BuildResult build_generation(const config::Config& config, plugin::ModuleRegistry& modules,
                             telemetry::Registry& registry, const telemetry::Metrics& metrics,
                             engine::WorkerPool* workers = nullptr);

}  // namespace extprocd::server
