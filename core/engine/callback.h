#pragma once

#include <exception>
#include <string>

#include <extproc/abi.h>

#include "core/engine/call.h"
#include "core/engine/callback_watch.h"
#include "core/engine/chain.h"

namespace extprocd::engine {

inline constexpr uint32_t kDeadlineExceeded = 4;  // of gRPC

/// Makes a callback into a module; a plugin without the C++ layer may let an exception out.
template <typename Callback>
extproc_action guarded_callback(extproc_call& call, Callback callback) noexcept {
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

/// Writes one line a second and plugin about its failures; the next one says how many were held back.
void log_failure(const PluginHost& host, std::string text);

/// Why the plugin failed, as it goes to the data plane: UTF-8, which gRPC and Envoy demand, and at most 1 KiB.
std::string failure_text(const extproc_call& call);

/// "20ms"
std::string to_text(Duration time);
/// Of a plugin whose timeout is over.
std::string too_late_text(Duration timeout);

}  // namespace extprocd::engine
