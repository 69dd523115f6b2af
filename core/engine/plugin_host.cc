#include "core/engine/plugin_host.h"

#include <cstring>
#include <utility>

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/callback_watch.h"
#include "core/engine/version.h"

namespace extprocd::engine {
namespace {

struct Extension {
  std::string_view name;
  const void* (*table)();
};

constexpr Extension kExtensions[] = {
    {EXTPROC_CONFIG_1, []() -> const void* { return &config_extension(); }},
    {EXTPROC_METRICS_1, []() -> const void* { return &metrics_extension(); }},
    {EXTPROC_METADATA_1, []() -> const void* { return &metadata_extension(); }},
    {EXTPROC_METADATA_2, []() -> const void* { return &metadata_extension_2(); }},
    {EXTPROC_STORE_1, []() -> const void* { return &store_extension(); }},
    {EXTPROC_BODY_1, []() -> const void* { return &body_extension(); }},
    {EXTPROC_CONTROL_1, []() -> const void* { return &control_extension(); }},
    {EXTPROC_STREAMED_REPLY_1, []() -> const void* { return &streamed_reply_extension(); }},
    {EXTPROC_WORK_1, []() -> const void* { return &work_extension(); }},
    {EXTPROC_ASYNC_1, []() -> const void* { return &async_extension(); }},
};

constexpr double kFailureLinesPerSecond = 1;

const void* get_extension(const extproc_host*, const char* name) {
  if (name == nullptr) return nullptr;
  for (const Extension& extension : kExtensions) {
    if (extension.name == name) return extension.table();
  }
  return nullptr;
}

telemetry::Level to_level(uint32_t level) {
  switch (level) {
    case EXTPROC_LOG_TRACE:
      return telemetry::Level::kTrace;
    case EXTPROC_LOG_DEBUG:
      return telemetry::Level::kDebug;
    case EXTPROC_LOG_WARN:
      return telemetry::Level::kWarn;
    case EXTPROC_LOG_ERROR:
      return telemetry::Level::kError;
    default:
      return telemetry::Level::kInfo;
  }
}

uint32_t log_enabled(const extproc_host*, uint32_t level) {
  return telemetry::enabled(to_level(level)) ? 1 : 0;
}

void log(const extproc_host* host, uint32_t level, extproc_str text) {
  telemetry::log(to_level(level), PluginHost::of(host).log_name(), from_abi(text));
}

void create_error(const extproc_host* host, extproc_str text) {
  PluginHost::of(host).report({}, std::string(from_abi(text)));
}

}  // namespace

PluginHost::PluginHost(const config::Plugin& entry, std::string file, std::string_view id, uint32_t phases,
                       telemetry::Registry& registry, WorkerPool* workers)
    : extproc_host{},
      name_(entry.name),
      log_name_("plugin." + entry.name),
      file_(std::move(file)),
      id_(id),
      registry_(registry),
      metrics_(registry, entry.name, phases),
      failure_log_limit_(kFailureLinesPerSecond),
      quarantine_(entry.quarantine, entry.name, registry),
      config_value_(entry.config),
      position_(entry.position),
      work_(workers, log_name_) {
  config_ = std::make_unique<ConfigNode>(config_value_);
  extproc_host& table = *this;
  table.struct_size = sizeof(extproc_host);
  table.abi_major = EXTPROC_ABI_MAJOR;
  table.abi_minor = EXTPROC_ABI_MINOR;
  table.version = to_abi(kVersion);
  table.plugin_name = to_abi(name_);
  table.get_extension = &engine::get_extension;
  table.log_enabled = &engine::log_enabled;
  table.log = &engine::log;
  table.create_error = &engine::create_error;
  set_call_functions(table);
}

PluginHost::~PluginHost() { await_watchers(); }

std::vector<config::Diagnostic> PluginHost::finish_create() {
  // A plugin that failed may not have come to its other keys: only its own errors tell something then.
  if (errors_.empty()) config_->report_unread(file_, name_, errors_);
  config_ = std::make_unique<ConfigNode>(config_value_);
  return std::exchange(errors_, {});
}

const std::vector<std::string_view>& PluginHost::extensions() {
  static const auto* const names = [] {
    auto* list = new std::vector<std::string_view>();
    for (const Extension& extension : kExtensions) list->push_back(extension.name);
    return list;
  }();
  return *names;
}

std::string_view PluginHost::config_json() const {
  if (json_.empty()) json_ = config::to_json(config_value_);
  return json_;
}

void PluginHost::report(const config::Position& position, std::string text) const {
  const bool has_place = position.line != 0;
  errors_.push_back({file_, has_place ? position : position_, "plugin '" + name_ + "': " + std::move(text)});
}

extproc_metric* PluginHost::keep(extproc_metric metric) const {
  return &plugin_metrics_.emplace_back(metric);
}

std::string PluginHost::metric_name(std::string_view name) const {
  std::string full = "extproc_plugin_" + id_ + "_" + std::string(name);
  for (char& c : full) {
    if (c == '.' || c == '-') c = '_';
  }
  return full;
}

}  // namespace extprocd::engine
