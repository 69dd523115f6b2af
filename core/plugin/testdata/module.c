/* Modules for the tests of loading: a good one, and one for each way to be broken, chosen by a macro. */
#include <extproc/abi.h>
#include <stddef.h>

#ifndef NULL_CREATE
static extproc_status create(const extproc_host* host, void** instance) {
  (void)host;
  *instance = 0;
#ifdef BROKEN_CREATE
  return EXTPROC_INVALID;
#else
  return EXTPROC_OK;
#endif
}
#endif

static void destroy(void* instance) { (void)instance; }

static extproc_action on_phase(void* instance, void* state, extproc_call* call, uint32_t phase,
                               uint32_t flags) {
  (void)instance;
  (void)state;
  (void)call;
  (void)phase;
  (void)flags;
  return EXTPROC_CONTINUE;
}

#ifdef MISSING_EXTENSION
static const char* const kRequired[] = {EXTPROC_STORE_1, "extproc.teleport/3", 0};
#endif

#ifndef VERSION
#define VERSION "1.0.0"
#endif

static const extproc_plugin kPlugin = {
#ifdef SMALL_SIZE
    .struct_size = offsetof(extproc_plugin, stream_end),
#else
    .struct_size = sizeof(extproc_plugin),
#endif
#ifdef WRONG_MAJOR
    .abi_major = EXTPROC_ABI_MAJOR + 1,
#else
    .abi_major = EXTPROC_ABI_MAJOR,
#endif
#ifdef TOO_NEW
    .abi_minor = EXTPROC_ABI_MINOR + 1,
#else
    .abi_minor = EXTPROC_ABI_MINOR,
#endif
    .id = "test.module",
    .version = VERSION,
    .build_info = "test build",
#ifdef MISSING_EXTENSION
    .required_extensions = kRequired,
#endif
    .phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS),
#ifndef NULL_CREATE
    .create = create,
#endif
    .destroy = destroy,
    .on_phase = on_phase,
};

#ifndef NO_ENTRY
__attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
#ifdef NULL_ENTRY
  return kPlugin.id == 0 ? &kPlugin : 0;
#else
  return &kPlugin;
#endif
}
#else
__attribute__((visibility("default"))) const extproc_plugin* some_other_symbol(void) { return &kPlugin; }
#endif
