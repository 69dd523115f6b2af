/* A plugin in C99 against abi.h alone: text goes on in capital letters. */
#include <extproc/abi.h>
#include <stdlib.h>
#include <string.h>

/* One [[plugin]] entry. Many streams use it at once: nothing in it changes after create. */
struct plugin {
  const extproc_host* host;
  const extproc_body_api* body;
};

static extproc_status create(const extproc_host* host, void** instance) {
  struct plugin* made = malloc(sizeof *made);
  if (made == NULL) return EXTPROC_LIMIT;
  made->host = host;
  made->body = host->get_extension(host, EXTPROC_BODY_1); /* there: it is required below */
  *instance = made;
  return EXTPROC_OK;
}

static void destroy(void* instance) { free(instance); }

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

/* Writes the slice anew, a buffer at a time; what is written is copied. */
static extproc_status write_upper(const struct plugin* self, extproc_call* call, extproc_str slice) {
  char buffer[4096];
  extproc_str out = {buffer, 0};
  extproc_status status = EXTPROC_OK;
  size_t i;
  for (i = 0; i < slice.size && status == EXTPROC_OK; ++i) {
    buffer[out.size++] = upper(slice.data[i]);
    if (out.size < sizeof buffer && i + 1 < slice.size) continue;
    status = self->body->write(call, out);
    out.size = 0;
  }
  return status;
}

/* Fails with the host's reason for refusing a call, which holds only until the next one. */
static extproc_action failed(const struct plugin* self, extproc_call* call) {
  const uint32_t internal = 13; /* gRPC's code */
  char why[256];
  extproc_str text = self->host->last_error(call);
  if (text.size > sizeof why) text.size = sizeof why;
  if (text.size > 0) memcpy(why, text.data, text.size);
  text.data = why;
  self->host->fail(call, internal, text);
  return EXTPROC_FAIL;
}

static extproc_action on_phase(void* instance, void* state, extproc_call* call, uint32_t phase,
                               uint32_t flags) {
  const struct plugin* self = instance;
  const extproc_str* slices = NULL;
  size_t count = 0, i;
  (void)state, (void)phase, (void)flags; /* both directions, and every piece, are treated alike */
  if (self->host->body(call, &slices, &count) != EXTPROC_OK) return failed(self, call);
  for (i = 0; i < count; ++i) {
    if (write_upper(self, call, slices[i]) != EXTPROC_OK) return failed(self, call);
  }
  if (self->body->drop(call, SIZE_MAX) != EXTPROC_OK) return failed(self, call); /* what came */
  return EXTPROC_CONTINUE;
}

/* The one symbol that a module exports. */
__attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  static const char* const extensions[] = {EXTPROC_BODY_1, NULL};
  static const char* const text[] = {"text", NULL};
  static const extproc_plugin descriptor = {
      .struct_size = sizeof(extproc_plugin),
      .abi_major = EXTPROC_ABI_MAJOR,
      .abi_minor = 1, /* bodies are changed since 1.1 */
      .id = "example.plain-c",
      .version = "1.0.0",
      .required_extensions = extensions,
      .phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY),
      .request_body_access = EXTPROC_ACCESS_EDIT_CHUNK,
      .response_body_access = EXTPROC_ACCESS_EDIT_CHUNK,
      .create = create,
      .destroy = destroy,
      .on_phase = on_phase,
      .request_body_types = text,
      .response_body_types = text,
  };
  return &descriptor;
}
