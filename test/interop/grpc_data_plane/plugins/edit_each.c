/* A plugin that puts "!" behind the content of each message, both ways. */
#include "payload.h"
#include <extproc/abi.h>
#include <stdlib.h>
#include <string.h>

typedef struct instance {
  const extproc_host* host;
  const extproc_body_api* body;
} instance;

static extproc_status create(const extproc_host* host, void** made) {
  instance* plugin = malloc(sizeof *plugin);
  if (plugin == 0) return EXTPROC_LIMIT;
  plugin->host = host;
  plugin->body = host->get_extension(host, EXTPROC_BODY_1);
  *made = plugin;
  return EXTPROC_OK;
}

static void destroy(void* made) { free(made); }

static extproc_action edit(const instance* plugin, extproc_call* call, int is_request, extproc_str message) {
  const extproc_str old = payload_of(message);
  const size_t room = old.size + 32;
  char* content = malloc(2 * room);
  if (content == 0) return EXTPROC_FAIL;
  char* made = content + room;
  if (old.size > 0) memcpy(content, old.data, old.size);
  content[old.size] = '!';
  const size_t size = write_payload(made, room, is_request, (extproc_str){content, old.size + 1});
  extproc_status status = plugin->body->drop(call, SIZE_MAX);
  if (status == EXTPROC_OK) status = plugin->body->write(call, (extproc_str){made, size});
  free(content);
  return status == EXTPROC_OK ? EXTPROC_CONTINUE : EXTPROC_FAIL;
}

static extproc_action on_phase(void* made, void* state, extproc_call* call, uint32_t phase, uint32_t flags) {
  const instance* plugin = made;
  (void)state;
  (void)flags;
  const extproc_str* slices = 0;
  size_t count = 0;
  if (plugin->host->body(call, &slices, &count) != EXTPROC_OK) return EXTPROC_FAIL;
  if (count == 0) return EXTPROC_CONTINUE; /* the end, without a message */
  return edit(plugin, call, phase == EXTPROC_REQUEST_BODY, slices[0]);
}

static const char* const kRequired[] = {EXTPROC_BODY_1, 0};

static const extproc_plugin kPlugin = {
    .struct_size = sizeof(extproc_plugin),
    .abi_major = EXTPROC_ABI_MAJOR,
    .abi_minor = EXTPROC_ABI_MINOR,
    .id = "test.edit-each",
    .version = "1.0.0",
    .required_extensions = kRequired,
    .phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY),
    .request_body_access = EXTPROC_ACCESS_EDIT_CHUNK,
    .response_body_access = EXTPROC_ACCESS_EDIT_CHUNK,
    .create = create,
    .destroy = destroy,
    .on_phase = on_phase,
};

__attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  return &kPlugin;
}
