#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include <extproc/abi.h>

#include "core/engine/call.h"
#include "core/engine/callback_watch.h"
#include "core/engine/chain.h"

namespace extprocd::engine {

// Codes of gRPC, for failures that the host finds.
inline constexpr uint32_t kDeadlineExceeded = 4;
inline constexpr uint32_t kResourceExhausted = 8;
inline constexpr uint32_t kFailedPrecondition = 9;
inline constexpr uint32_t kInternal = 13;

/// Makes a callback into a module; a plugin without the C++ layer may let an exception out.
template <typename Callback>
extproc_action guarded_callback(extproc_call& call, const Callback& callback) noexcept {
  const CallbackScope scope(*call.link.host, call.phase);
  try {
    return callback();
  } catch (const std::exception& exception) {
    call.failure_text = std::string("exception: ") + exception.what();
  } catch (...) {
    call.failure_text = "exception of unknown type";
  }
  call.failure_code = 2;
  return EXTPROC_FAIL;
}

inline bool has_on_cancelled(const extproc_plugin& descriptor) {
  return EXTPROC_HAS(&descriptor, extproc_plugin, on_cancelled) && descriptor.on_cancelled != nullptr;
}

// The callbacks of a plugin, on whichever thread. `state` is the plugin's memory on that stream.

/// Makes stream_begin, if there is one. False: it failed, and the plugin has not begun.
[[nodiscard]] bool call_begin(extproc_call& call, void* state, const extproc_stream_facts& facts);
/// Makes on_resumed with a `token`, on_phase without (null).
inline extproc_action call_phase(extproc_call& call, void* state, uint32_t flags, const uint64_t* token) {
  const ChainLink& link = call.link;
  return guarded_callback(call, [&] {
    if (token == nullptr) return link.descriptor->on_phase(link.instance, state, &call, call.phase, flags);
    return link.descriptor->on_resumed(link.instance, state, &call, call.phase, flags, *token);
  });
}
/// Makes on_cancelled, if there is one. A failure of it is logged.
void call_cancelled(extproc_call& call, void* state, uint32_t reason);
/// Makes stream_end, if there is one. A failure of it is logged.
void call_end(extproc_call& call, void* state, const extproc_stream_end& info);

/// Writes one line a second and plugin about its failures; the next one says how many were held back.
void log_failure(const PluginHost& host, std::string text);

/// Why the plugin failed, as it goes to the data plane: UTF-8, which gRPC and Envoy demand, and at most 1 KiB.
std::string failure_text(const extproc_call& call);

/// "20ms"
std::string to_text(Duration time);
/// Of a plugin whose timeout is over.
std::string too_late_text(Duration timeout);

}  // namespace extprocd::engine
