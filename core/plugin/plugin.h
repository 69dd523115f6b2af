#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include <extproc/abi.h>

#include "core/plugin/module.h"

namespace extprocd::plugin {

/// An instance of a module, made for one [[plugin]] entry. Create and destroy it on a thread that serves no
/// traffic, after all streams that use it have ended.
class Plugin {
 public:
  /// `host` outlives the plugin. On failure the plugin has usually told the host why; the status says what
  /// the module itself did: an error it returned, or an exception that it let out.
  static absl::StatusOr<std::unique_ptr<Plugin>> create(std::shared_ptr<const Module> module,
                                                        const extproc_host* host);

  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;
  ~Plugin();

  [[nodiscard]] const Module& module() const { return *module_; }
  [[nodiscard]] const extproc_plugin& descriptor() const { return *module_->descriptor; }
  [[nodiscard]] void* instance() const { return instance_; }

 private:
  Plugin(std::shared_ptr<const Module> module, void* instance)
      : module_(std::move(module)), instance_(instance) {}

  std::shared_ptr<const Module> module_;
  void* instance_;
};

}  // namespace extprocd::plugin
