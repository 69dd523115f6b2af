// A module without the C++ layer that lets exceptions out of its callbacks.
#include <stdexcept>

#include <extproc/abi.h>

namespace {

extproc_status create(const extproc_host*, void**) { throw std::runtime_error("no good"); }
void destroy(void*) {}
extproc_action on_phase(void*, void*, extproc_call*, uint32_t, uint32_t) { return EXTPROC_CONTINUE; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  static extproc_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = EXTPROC_ABI_MAJOR;
  plugin.id = "test.throwing";
  plugin.version = "1.0.0";
  plugin.create = &create;
  plugin.destroy = &destroy;
  plugin.on_phase = &on_phase;
  return &plugin;
}
