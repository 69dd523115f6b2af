// The host function by which a plugin hands work over to threads that may block: extproc.work/1.

#include <exception>

#include "core/engine/call.h"
#include "core/engine/plugin_host.h"

namespace extprocd::engine {
namespace {

extproc_status run(const extproc_host* host, uint64_t delay_ns, extproc_work work, void* data) {
  try {
    return PluginHost::of(host).work().run(delay_ns, work, data);
  } catch (const std::exception&) {
    return EXTPROC_LIMIT;  // out of memory, or a lock that fails
  }
}

}  // namespace

const extproc_work_api& work_extension() {
  static constexpr extproc_work_api kTable = {sizeof(extproc_work_api), 0, &run};
  return kTable;
}

}  // namespace extprocd::engine
