#include "core/plugin/plugin.h"

#include <exception>
#include <utility>

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
  try {
    module_->descriptor->destroy(instance_);
  } catch (...) {  // NOLINT(bugprone-empty-catch): nothing is left that could use the instance
  }
}

}  // namespace extprocd::plugin
