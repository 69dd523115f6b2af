#include "core/server/generation_builder.h"

#include <utility>

#include "core/plugin/module_file.h"

namespace extprocd::server {
namespace {

using engine::HostedPlugin;
using engine::PluginHost;

/// Creates one plugin, or adds what is wrong with it to `errors`.
void add_plugin(const config::Plugin& entry, const std::string& directory, plugin::ModuleRegistry& modules,
                telemetry::Registry& registry, engine::Generation& generation,
                std::vector<config::Diagnostic>& errors) {
  const std::string& file = generation.config.file;
  const auto refuse = [&](const std::string& text) {
    errors.push_back({file, entry.position, "plugin '" + entry.name + "': " + text});
  };
  auto module = modules.load(directory, entry.module, entry.sha256);
  if (!module.ok()) return refuse(std::string(module.status().message()));

  HostedPlugin hosted;
  const extproc_plugin& descriptor = *(*module)->descriptor;
  hosted.host = std::make_unique<PluginHost>(entry, file, descriptor.id, descriptor.phases, registry);
  auto created = plugin::Plugin::create(*module, hosted.host->table());
  const std::vector<config::Diagnostic> reported = hosted.host->finish_create();
  errors.insert(errors.end(), reported.begin(), reported.end());
  if (!created.ok()) {
    // What the plugin reported says more than that it failed.
    if (reported.empty()) refuse((*module)->path + ": " + std::string(created.status().message()));
    return;
  }
  hosted.plugin = std::move(*created);
  if (!reported.empty()) return;
  generation.chain.add(hosted.plugin->descriptor(), hosted.plugin->instance(), *hosted.host, entry.on_error,
                       entry.deny_status);
  telemetry::show_plugin_info(registry, entry.name, descriptor.id, descriptor.version, (*module)->sha256);
  generation.plugins.push_back(std::move(hosted));
}

std::string phase_names(uint32_t phases) {
  std::string names;
  for (uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    if ((phases & EXTPROC_PHASE_BIT(phase)) == 0) continue;
    names +=
        (names.empty() ? "" : ", ") + std::string(telemetry::to_string(static_cast<telemetry::Phase>(phase)));
  }
  return names.empty() ? "none" : names;
}

}  // namespace

BuildResult build_generation(const config::Config& config, plugin::ModuleRegistry& modules,
                             telemetry::Registry& registry, const telemetry::Metrics& metrics) {
  BuildResult result;
  auto generation = std::make_shared<engine::Generation>();
  generation->config = config;
  generation->metrics = &metrics;
  const std::string directory =
      config.plugins.directory.empty() ? plugin::default_plugin_directory() : config.plugins.directory;
  for (const config::Plugin& entry : config.plugin) {
    add_plugin(entry, directory, modules, registry, *generation, result.errors);
  }
  if (result.errors.empty()) result.generation = std::move(generation);
  return result;
}

std::string describe(const engine::Generation& generation) {
  std::string text = "chain '" + generation.chain.name() + "':\n";
  if (generation.chain.links().empty()) text += "  no plugins: everything passes unchanged\n";
  std::size_t place = 0;
  for (const HostedPlugin& hosted : generation.plugins) {
    const engine::ChainLink& link = generation.chain.links()[place];
    const extproc_plugin& descriptor = *link.descriptor;
    text += "  " + std::to_string(++place) + ". " + hosted.host->name() + ": " + descriptor.id + " " +
            descriptor.version + "\n";
    text += "     file     " + hosted.plugin->module().path + "\n";
    text += "     sha256   " + hosted.plugin->module().sha256 + "\n";
    text += "     on_error " + std::string(config::to_string(link.on_error));
    if (link.on_error == config::FailurePolicy::kDeny)
      text += " with status " + std::to_string(link.deny_status);
    text += "\n     phases   " + phase_names(descriptor.phases) + "\n";
  }
  return text;
}

}  // namespace extprocd::server
