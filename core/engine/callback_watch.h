#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "core/telemetry/registry.h"

// Which plugin each thread is inside of, for who watches from another thread. All functions from any thread.
namespace extprocd::engine {

class PluginHost;

namespace detail {

/// Of one thread, which alone writes it.
struct alignas(telemetry::kCacheLine) CallbackSlot {
  std::atomic<const PluginHost*> host{nullptr};  // of the last callback
  std::atomic<uint64_t> call{
      0};  // how many there were, above four bits: the phase and one, zero outside a callback
};
inline constexpr uint64_t kInside = 0xf;

inline constinit thread_local CallbackSlot* own_callback_slot = nullptr;
CallbackSlot& make_callback_slot();

}  // namespace detail

/// Lives as long as a callback. A few stores to what is the thread's own; no lock, no clock.
class CallbackScope {
 public:
  /// `phase`: EXTPROC_*, or EXTPROC_PHASE_COUNT for stream_end.
  CallbackScope(const PluginHost& host, uint32_t phase)
      : slot_(detail::own_callback_slot != nullptr ? *detail::own_callback_slot
                                                   : detail::make_callback_slot()),
        call_((slot_.call.load(std::memory_order_relaxed) | detail::kInside) + phase + 2) {
    // Each is seen no sooner than what stands before it, so that a call's number tells whose host this is.
    slot_.host.store(&host, std::memory_order_release);
    slot_.call.store(call_, std::memory_order_release);
  }
  ~CallbackScope() { slot_.call.store(call_ & ~detail::kInside, std::memory_order_release); }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  detail::CallbackSlot& slot_;
  const uint64_t call_;
};

/// The calling thread is there for callbacks that block: it is not watched.
void leave_thread_unwatched();

/// A callback that has not returned yet.
struct RunningCallback {
  uint64_t thread;     ///< unlike that of any other thread, also of those that are gone
  pid_t thread_id;     ///< the system's
  uint64_t call;       ///< unlike that of any other callback on this thread
  std::string plugin;  ///< the configured name
  uint32_t phase;      ///< EXTPROC_*, or EXTPROC_PHASE_COUNT for stream_end
};

/// "request_headers", …, "stream_end"; what begins a plugin's stream counts as the phase in which it does.
std::string_view callback_name(uint32_t phase);

/// The callbacks that run on watched threads now.
std::vector<RunningCallback> running_callbacks();
/// Sends a signal with a value to the thread of a callback. False if it has returned, or the signal could not be sent.
bool signal_callback(const RunningCallback& callback, int signal, int value);
/// Returns when nobody looks at hosts whose callbacks have all returned. To be called before one is destroyed.
void await_watchers();

}  // namespace extprocd::engine
