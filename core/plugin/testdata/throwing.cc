// Modules without the C++ layer that let an exception out of one callback, which THROWS_IN names. They ask
// for every phase.
#include <stdexcept>
#include <string_view>

#include <extproc/abi.h>

namespace {

constexpr const char* kPhases[] = {"request_headers",  "request_body",  "request_trailers",
                                   "response_headers", "response_body", "response_trailers",
                                   "local_reply"};

void throw_in(std::string_view place) {
  if (place == THROWS_IN) throw std::runtime_error("thrown in " THROWS_IN);
}

extproc_status create(const extproc_host*, void** instance) {
  throw_in("create");
  *instance = nullptr;
  return EXTPROC_OK;
}
void destroy(void*) { throw_in("destroy"); }
extproc_action stream_begin(void*, void*, extproc_call*, const extproc_stream_facts*) {
  throw_in("stream_begin");
  return EXTPROC_CONTINUE;
}
extproc_action on_phase(void*, void*, extproc_call*, uint32_t phase, uint32_t) {
  throw_in(kPhases[phase]);
  return EXTPROC_CONTINUE;
}
void stream_end(void*, void*, extproc_call*, const extproc_stream_end*) { throw_in("stream_end"); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  static extproc_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = EXTPROC_ABI_MAJOR;
  plugin.id = "test.throwing";
  plugin.version = "1.0.0";
  plugin.phases = (1U << EXTPROC_PHASE_COUNT) - 1;
  plugin.request_body_access = EXTPROC_ACCESS_OBSERVE;
  plugin.response_body_access = EXTPROC_ACCESS_OBSERVE;
  plugin.create = &create;
  plugin.destroy = &destroy;
  plugin.stream_begin = &stream_begin;
  plugin.on_phase = &on_phase;
  plugin.stream_end = &stream_end;
  return &plugin;
}
