#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <extproc/abi.h>

#include "core/config/config.h"
#include "core/engine/config_nodes.h"
#include "core/engine/plugin_work.h"
#include "core/engine/quarantine.h"
#include "core/engine/suspensions.h"
#include "core/telemetry/log.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"

namespace extprocd::engine {

/// The host as one plugin sees it: the extproc_host table given to create, with the plugin's name,
/// configuration, log and metrics behind it. Outlives the plugin's instance. The configuration part is used
/// by one thread, while the plugin is created; the rest is safe from any thread.
class PluginHost : private extproc_host {
 public:
  /// `entry` names the plugin and holds its configuration; `file` is what messages call the configuration
  /// file. `id` is the descriptor's, `phases` its phases. `registry` outlives the host, as do `workers`, without which
  /// no work is taken.
  PluginHost(const config::Plugin& entry, std::string file, std::string_view id, uint32_t phases,
             telemetry::Registry& registry, WorkerPool* workers = nullptr);
  PluginHost(const PluginHost&) = delete;
  PluginHost& operator=(const PluginHost&) = delete;
  ~PluginHost();

  [[nodiscard]] const extproc_host* table() const { return this; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// What the log calls the plugin: "plugin.<name>".
  [[nodiscard]] const std::string& log_name() const { return log_name_; }
  [[nodiscard]] const telemetry::PluginMetrics& metrics() const { return metrics_; }
  /// Holds back the log lines of a plugin that fails over and over.
  [[nodiscard]] telemetry::RateLimit& failure_log_limit() const { return failure_log_limit_; }
  /// Whether the plugin is put aside for failing too often.
  [[nodiscard]] Quarantine& quarantine() const { return quarantine_; }

  /// The streams that wait for it.
  [[nodiscard]] Suspensions& suspensions() const { return suspensions_; }

  /// What create reported, and keys that it never asked for. Ends the time in which configuration can be
  /// read.
  std::vector<config::Diagnostic> finish_create();

  /// The names that get_extension knows, for checking what a plugin requires.
  static const std::vector<std::string_view>& extensions();

  // The parts behind the extension tables.
  static const PluginHost& of(const extproc_host* table) { return *static_cast<const PluginHost*>(table); }
  const ConfigNode& config_root() const { return *config_; }
  std::string_view config_json() const;
  void report(const config::Position& position, std::string text) const;
  telemetry::Registry& registry() const { return registry_; }
  extproc_metric* keep(extproc_metric metric) const;
  PluginWork& work() const { return work_; }
  /// "extproc_plugin_<id>_<name>"
  std::string metric_name(std::string_view name) const;

 private:
  std::string name_;
  std::string log_name_;
  std::string file_;
  std::string id_;
  telemetry::Registry& registry_;
  telemetry::PluginMetrics metrics_;
  mutable telemetry::RateLimit failure_log_limit_;
  mutable Quarantine quarantine_;
  mutable Suspensions suspensions_;
  std::unique_ptr<ConfigNode> config_;
  mutable std::string json_;
  mutable std::vector<config::Diagnostic> errors_;
  mutable std::deque<extproc_metric> plugin_metrics_;  // a deque: addresses stay
  config::Value config_value_;
  config::Position position_;
  mutable PluginWork work_;
};

}  // namespace extprocd::engine

/// A metric that a plugin made: exactly one pointer is set.
struct extproc_metric {
  extprocd::telemetry::FloatCounter* counter = nullptr;
  extprocd::telemetry::Gauge* gauge = nullptr;
  extprocd::telemetry::Histogram* histogram = nullptr;
};
