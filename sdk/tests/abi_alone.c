/* abi.h is all that this file has. */
#include <extproc/abi.h>

const extproc_plugin* extproc_plugin_entry_v1(void) {
  static const extproc_plugin kNone = {sizeof(extproc_plugin), EXTPROC_ABI_MAJOR, EXTPROC_ABI_MINOR};
  return EXTPROC_HAS(&kNone, extproc_plugin, stream_end) ? &kNone : 0;
}
