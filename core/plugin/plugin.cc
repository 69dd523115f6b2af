#include "core/plugin/plugin.h"

#include <exception>
#include <string>
#include <utility>

#include "core/telemetry/log.h"

namespace extprocd::plugin {

absl::StatusOr<std::unique_ptr<Plugin>> Plugin::create(std::shared_ptr<const Module> module,
                                                       const extproc_host* host) {
  void* instance = nullptr;
  try {
    const extproc_status status = module->descriptor->create(host, &instance);
    if (status != EXTPROC_OK)
      return absl::FailedPreconditionError("create failed with status " + std::to_string(status));
  } catch (const std::exception& exception) {
    return absl::FailedPreconditionError(std::string("create let an exception out: ") + exception.what());
  } catch (...) {
    return absl::FailedPreconditionError("create let an exception of unknown type out");
  }
  return std::unique_ptr<Plugin>(new Plugin(std::move(module), instance));
}

Plugin::~Plugin() {
  const auto report = [this](const std::string& what) {
    telemetry::log(
        telemetry::Level::kError, "plugin",
        module_->path + " (" + module_->descriptor->id + "): destroy let an exception out: " + what);
  };
  try {
    module_->descriptor->destroy(instance_);
  } catch (const std::exception& exception) {
    report(exception.what());
  } catch (...) {
    report("of unknown type");
  }
}

}  // namespace extprocd::plugin
