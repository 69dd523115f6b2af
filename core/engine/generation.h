#pragma once

#include <memory>
#include <vector>

#include "core/config/config.h"
#include "core/engine/chain_table.h"
#include "core/engine/plugin_host.h"
#include "core/plugin/plugin.h"
#include "core/telemetry/metrics.h"

namespace extprocd::engine {

/// One instance of a [[plugin]]: that of its own options, or of a chain that overrides them. The instance is destroyed
/// before its host, and when none of the work runs that it handed over.
struct HostedPlugin {
  HostedPlugin() = default;
  HostedPlugin(HostedPlugin&&) = default;
  HostedPlugin& operator=(HostedPlugin&&) = delete;
  ~HostedPlugin() {
    if (plugin) host->work().end();
  }

  std::unique_ptr<PluginHost> host;
  std::unique_ptr<plugin::Plugin> plugin;
};

/// Configuration, plugins and chains as one whole that never changes once it is published. Each stream holds a
/// reference to the generation that it began with, and each callback on a worker one more, which it gives back there;
/// destroying the last one destroys the plugins, so that must not happen on a transport's thread.
struct Generation {
  config::Config config;
  const telemetry::Metrics* metrics = nullptr;  ///< outlives the generation
  std::vector<std::unique_ptr<HostedPlugin>> plugins;
  ChainTable chains;
};

}  // namespace extprocd::engine
