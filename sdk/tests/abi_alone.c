/* abi.h is all that this file has. */
#include <extproc/abi.h>

const extproc_plugin* extproc_plugin_entry_v1(void) {
  static extproc_plugin none;
  none.struct_size = sizeof(extproc_plugin);
  return EXTPROC_HAS(&none, extproc_plugin, stream_end) ? &none : 0;
}
