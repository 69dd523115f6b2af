/* A plugin that holds messages until there are three, both ways, and then lets them go together. */
#include <extproc/abi.h>

static extproc_status create(const extproc_host* host, void** made) {
  *made = (void*)host;
  return EXTPROC_OK;
}

static void destroy(void* made) { (void)made; }

static extproc_action on_phase(void* made, void* state, extproc_call* call, uint32_t phase, uint32_t flags) {
  const extproc_host* host = made;
  (void)state;
  (void)phase;
  const extproc_str* slices = 0;
  size_t count = 0;
  if (host->body(call, &slices, &count) != EXTPROC_OK) return EXTPROC_FAIL;
  if ((flags & EXTPROC_END_OF_BODY) != 0 || count >= 3) return EXTPROC_CONTINUE;
  return EXTPROC_HOLD;
}

static const extproc_plugin kPlugin = {
    .struct_size = sizeof(extproc_plugin),
    .abi_major = EXTPROC_ABI_MAJOR,
    .abi_minor = EXTPROC_ABI_MINOR,
    .id = "test.hold-three",
    .version = "1.0.0",
    .phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY),
    .request_body_access = EXTPROC_ACCESS_STREAM,
    .response_body_access = EXTPROC_ACCESS_STREAM,
    .create = create,
    .destroy = destroy,
    .on_phase = on_phase,
};

__attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  return &kPlugin;
}
