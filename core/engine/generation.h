#pragma once

#include <memory>
#include <vector>

#include "core/config/config.h"
#include "core/engine/chain.h"
#include "core/engine/plugin_host.h"
#include "core/plugin/plugin.h"
#include "core/telemetry/metrics.h"

namespace extprocd::engine {

/// One [[plugin]] that has been created. The instance is destroyed before its host.
struct HostedPlugin {
  std::unique_ptr<PluginHost> host;
  std::unique_ptr<plugin::Plugin> plugin;
};

/// Configuration, plugins and chain as one whole that never changes once it is published. Each stream holds a
/// reference to the generation that it began with; destroying the last one destroys the plugins, so that must
/// not happen on a transport's thread.
struct Generation {
  config::Config config;
  const telemetry::Metrics* metrics = nullptr;  ///< outlives the generation
  std::vector<HostedPlugin> plugins;
  Chain chain{"default"};
};

}  // namespace extprocd::engine
