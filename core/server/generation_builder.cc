#include "core/server/generation_builder.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/config/deadline.h"
#include "core/engine/body_access.h"
#include "core/plugin/module_file.h"

namespace extprocd::server {
namespace {

using engine::HostedPlugin;
using engine::PluginHost;

/// The chain that a configuration without any has.
config::Chain implicit_chain(const config::Config& config) {
  config::Chain chain;
  chain.name = "default";
  chain.data_plane = config.data_plane;
  chain.deadline = config.chains.deadline.value_or(config::default_deadline(config.data_plane));
  for (const config::Plugin& entry : config.plugin) chain.plugins.push_back(entry.name);
  return chain;
}

const config::PluginOverride* override_of(const config::Chain& chain, const std::string& plugin) {
  const auto found = std::find_if(chain.overrides.begin(), chain.overrides.end(),
                                  [&](const auto& change) { return change.plugin == plugin; });
  return found == chain.overrides.end() ? nullptr : &*found;
}

bool may_block(const config::Plugin& entry, const extproc_plugin& descriptor) {
  return entry.may_block ||
         (EXTPROC_HAS(&descriptor, extproc_plugin, may_block) && descriptor.may_block != 0);
}

/// Builds one generation; what is wrong is collected.
class Builder {
 public:
  Builder(const config::Config& config, plugin::ModuleRegistry& modules, telemetry::Registry& registry,
          const telemetry::Metrics& metrics, engine::WorkerPool* workers)
      : modules_(modules),
        registry_(registry),
        workers_(workers),
        generation_(std::make_shared<engine::Generation>()) {
    generation_->config = config;
    generation_->metrics = &metrics;
    directory_ =
        config.plugins.directory.empty() ? plugin::default_plugin_directory() : config.plugins.directory;
  }

  BuildResult build() {
    auto& chains = generation_->config.chain;
    if (chains.empty()) chains.push_back(implicit_chain(generation_->config));
    for (const config::Chain& chain : chains) add_chain(chain);
    if (!errors_.empty()) generation_.reset();
    return {std::move(generation_), std::move(errors_)};
  }

 private:
  void add_chain(const config::Chain& chain) {
    auto built = std::make_unique<engine::Chain>(chain.name, chain.response_order, chain.data_plane,
                                                 engine::to_duration(chain.deadline));
    for (const std::string& name : chain.plugins) {
      const config::Plugin& entry = entry_of(name);
      const config::PluginOverride* change = override_of(chain, name);
      const HostedPlugin* hosted =
          change != nullptr && change->config ? own_instance(entry, *change) : shared(entry);
      if (hosted == nullptr) continue;
      const auto on_error = change != nullptr && change->on_error ? *change->on_error : entry.on_error;
      const auto deny_status =
          change != nullptr && change->deny_status ? *change->deny_status : entry.deny_status;
      const extproc_plugin& descriptor = hosted->plugin->descriptor();
      refuse_access(chain, entry, wire::Direction::kRequest, descriptor.request_body_access,
                    chain.data_plane.request_body_mode);
      refuse_access(chain, entry, wire::Direction::kResponse, descriptor.response_body_access,
                    chain.data_plane.response_body_mode);
      built->add(descriptor, hosted->plugin->instance(), *hosted->host,
                 {.on_error = on_error,
                  .deny_status = deny_status,
                  .when = entry.when.empty() ? nullptr : &entry.when,
                  .max_body_bytes = entry.max_body_bytes,
                  .timeouts = entry.timeouts,
                  .workers = may_block(entry, descriptor) ? workers_ : nullptr});
    }
    generation_->chains.add(std::move(built), chain.match, &telemetry::chain_streams(registry_, chain.name));
  }

  /// Refuses a plugin whose access to a body a stated body mode does not allow.
  void refuse_access(const config::Chain& chain, const config::Plugin& entry, wire::Direction direction,
                     uint32_t access, const std::optional<wire::BodyMode>& mode) {
    if (!mode || engine::body_support(access, mode, false) != engine::BodySupport::kRefused) return;
    if (*mode == wire::BodyMode::kNone && chain.data_plane.allow_mode_override) return;
    errors_.push_back({generation_->config.file, entry.position,
                       "plugin '" + entry.name + "' in chain '" + chain.name + "' " +
                           engine::body_refusal(access, direction, mode) +
                           " (and state that in data_plane)"});
  }

  const config::Plugin& entry_of(const std::string& name) const {
    const auto& entries = generation_->config.plugin;
    return *std::find_if(entries.begin(), entries.end(),
                         [&](const auto& entry) { return entry.name == name; });
  }

  /// The instance with the plugin's own options, made when the first chain wants it; null if that failed.
  const HostedPlugin* shared(const config::Plugin& entry) {
    const auto known = shared_.find(entry.name);
    if (known != shared_.end()) return known->second;
    return shared_[entry.name] = create(entry);
  }

  const HostedPlugin* own_instance(config::Plugin entry, const config::PluginOverride& change) {
    entry.config = config::merged(entry.config, *change.config);
    entry.position = change.position;
    return create(entry);
  }

  /// Creates an instance, or adds what is wrong with it to the errors.
  const HostedPlugin* create(const config::Plugin& entry) {
    const std::string& file = generation_->config.file;
    const auto refuse = [&](const std::string& text) {
      errors_.push_back({file, entry.position, "plugin '" + entry.name + "': " + text});
      return nullptr;
    };
    auto module = modules_.load(directory_, entry.module, entry.sha256);
    if (!module.ok()) return refuse(std::string(module.status().message()));

    HostedPlugin hosted;
    const extproc_plugin& descriptor = *(*module)->descriptor;
    hosted.host =
        std::make_unique<PluginHost>(entry, file, descriptor.id, descriptor.phases, registry_, workers_);
    auto created = plugin::Plugin::create(*module, hosted.host->table());
    const std::vector<config::Diagnostic> reported = hosted.host->finish_create();
    errors_.insert(errors_.end(), reported.begin(), reported.end());
    if (!created.ok()) {
      // What the plugin reported says more than that it failed.
      if (reported.empty()) refuse((*module)->path + ": " + std::string(created.status().message()));
      return nullptr;
    }
    hosted.plugin = std::move(*created);
    if (!reported.empty()) return nullptr;
    hosted.host->work().begin();
    telemetry::show_plugin_info(registry_, entry.name, descriptor.id, descriptor.version, (*module)->sha256);
    generation_->plugins.push_back(std::make_unique<HostedPlugin>(std::move(hosted)));
    return generation_->plugins.back().get();
  }

  plugin::ModuleRegistry& modules_;
  telemetry::Registry& registry_;
  engine::WorkerPool* workers_;
  std::shared_ptr<engine::Generation> generation_;
  std::string directory_;
  std::map<std::string, const HostedPlugin*> shared_;
  std::vector<config::Diagnostic> errors_;
};

}  // namespace

BuildResult build_generation(const config::Config& config, plugin::ModuleRegistry& modules,
                             telemetry::Registry& registry, const telemetry::Metrics& metrics,
                             engine::WorkerPool* workers) {
  return Builder(config, modules, registry, metrics, workers).build();
}

}  // namespace extprocd::server
