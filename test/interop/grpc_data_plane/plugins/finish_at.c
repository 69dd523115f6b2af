/* A plugin that wants no more of a stream once it has had the phase FINISH_AT, though it asked for all of it. */
#include <extproc/abi.h>

static extproc_status create(const extproc_host* host, void** made) {
  *made = (void*)host;
  return EXTPROC_OK;
}

static void destroy(void* made) { (void)made; }

static extproc_action on_phase(void* made, void* state, extproc_call* call, uint32_t phase, uint32_t flags) {
  (void)made;
  (void)state;
  (void)call;
  (void)flags;
  return phase == FINISH_AT ? EXTPROC_FINISH : EXTPROC_CONTINUE;
}

static const extproc_plugin kPlugin = {
    .struct_size = sizeof(extproc_plugin),
    .abi_major = EXTPROC_ABI_MAJOR,
    .abi_minor = EXTPROC_ABI_MINOR,
    .id = "test.finish-at",
    .version = "1.0.0",
    .phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS) | EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) |
              EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY) |
              EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS),
    .request_body_access = EXTPROC_ACCESS_OBSERVE,
    .response_body_access = EXTPROC_ACCESS_OBSERVE,
    .create = create,
    .destroy = destroy,
    .on_phase = on_phase,
};

__attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  return &kPlugin;
}
