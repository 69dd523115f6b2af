// abi.h is all that this file has.
#include <extproc/abi.h>

const extproc_plugin* extproc_plugin_entry_v1() {
  static constexpr extproc_plugin kNone{};
  return EXTPROC_HAS(&kNone, extproc_plugin, stream_end) ? &kNone : nullptr;
}
