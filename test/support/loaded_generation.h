#pragma once

#include <memory>

#include "core/config/config.h"
#include "core/engine/generation.h"
#include "core/engine/worker_pool.h"
#include "core/plugin/module.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"

namespace extprocd::test {

/// A generation with the bundled plugins really loaded, and what it stands on.
class LoadedGeneration {
 public:
  /// Takes modules from the build's plugin folder if the configuration names none. A mistake in `config` fails the test and leaves
  /// generation() null.
  explicit LoadedGeneration(config::Config config);

  [[nodiscard]] std::shared_ptr<const engine::Generation> generation() const { return generation_; }
  telemetry::Registry& registry() { return registry_; }
  telemetry::Metrics& metrics() { return metrics_; }

 private:
  telemetry::Registry registry_{16};
  telemetry::Metrics metrics_{registry_};
  std::unique_ptr<plugin::ModuleRegistry> modules_;
  engine::WorkerPool workers_{{}, registry_};
  std::shared_ptr<const engine::Generation> generation_;
};

}  // namespace extprocd::test
