// The host functions by which a plugin waits: extproc.async/1.

#include <algorithm>
#include <limits>

#include "core/engine/call.h"
#include "core/engine/host_call.h"

namespace extprocd::engine {
namespace {

extproc_status suspend(extproc_call* call, extproc_resume_handle* handle) {
  return guarded(call, [&]() -> extproc_status {
    if (handle == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
    if (call->suspension != 0) return refuse(call, EXTPROC_LIMIT, "this callback has suspended already");
    const bool in_phase = call->may_edit && call->phase != EXTPROC_LOCAL_REPLY && !call->replies_in_pieces;
    if (!in_phase) {
      return refuse(call, EXTPROC_UNSUPPORTED,
                    "nothing waits here: suspend in on_phase or on_resumed of one of the message's phases");
    }
    if (!call->link.resumes) return refuse(call, EXTPROC_UNSUPPORTED, "the descriptor has no on_resumed");
    call->suspension = call->site->open_suspension(call->link);
    if (call->suspension == 0) {
      return refuse(call, EXTPROC_UNSUPPORTED, "this stream has no thread to come back to");
    }
    *handle = call->suspension;
    return EXTPROC_OK;
  });
}

extproc_status resume(const extproc_host* host, extproc_resume_handle handle, uint64_t token) {
  const PluginHost& plugin = PluginHost::of(host);
  if (plugin.suspensions().resume(handle, token)) return EXTPROC_OK;
  plugin.metrics().ignored_resumes->add();
  return EXTPROC_NOT_FOUND;
}

extproc_status resume_after(extproc_call* call, extproc_resume_handle handle, uint64_t nanoseconds,
                            uint64_t token) {
  if (handle == 0 || handle != call->suspension) {
    return refuse(call, EXTPROC_INVALID, "not the handle that this callback's suspend() gave");
  }
  if (call->timer) return refuse(call, EXTPROC_LIMIT, "this callback has set a timer already");
  call->last_error = {};
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / 4;
  const Duration delay(static_cast<int64_t>(std::min(nanoseconds, kMost)));
  call->timer = {call->site->now() + delay, token};
  return EXTPROC_OK;
}

uint32_t is_waiting(const extproc_host* host, extproc_resume_handle handle) {
  return PluginHost::of(host).suspensions().is_waiting(handle) ? 1 : 0;
}

}  // namespace

const extproc_async_api& async_extension() {
  static constexpr extproc_async_api kTable = {
      sizeof(extproc_async_api), 0, &suspend, &resume, &resume_after, &is_waiting};
  return kTable;
}

}  // namespace extprocd::engine
