#include "core/engine/callback_watch.h"

#include <algorithm>
#include <csignal>
#include <mutex>
#include <optional>

#include <extproc/abi.h>
#include <pthread.h>
#include <unistd.h>

#include "core/engine/plugin_host.h"
#include "core/telemetry/metrics.h"

namespace extprocd::engine {
namespace {

using detail::CallbackSlot;

struct Thread {
  uint64_t number;
  pthread_t handle;
  pid_t id;
  const CallbackSlot* slot;
};

/// The threads that have called a plugin and have not ended. Who looks at them holds the mutex, so that none ends and no
/// host is destroyed meanwhile.
struct Threads {
  std::mutex mutex;
  std::vector<Thread> list;
  uint64_t last_number = 0;
};

Threads& threads() {
  static auto* const all = new Threads();  // for threads that outlive main's
  return *all;
}

/// Puts the thread that makes it among those that are watched, until it ends.
class Registration {
 public:
  Registration() {
    Threads& all = threads();
    const std::lock_guard lock(all.mutex);
    all.list.push_back({++all.last_number, pthread_self(), gettid(), &slot_});
  }
  ~Registration() { leave(); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  CallbackSlot& slot() { return slot_; }
  void leave() {
    Threads& all = threads();
    const std::lock_guard lock(all.mutex);
    std::erase_if(all.list, [this](const Thread& thread) { return thread.slot == &slot_; });
  }

 private:
  CallbackSlot slot_;
};

Registration& own_registration() {
  thread_local Registration own;
  detail::own_callback_slot = &own.slot();
  return own;
}

std::optional<RunningCallback> running_on(const Thread& thread) {
  const uint64_t call = thread.slot->call.load(std::memory_order_acquire);
  if ((call & detail::kInside) == 0) return std::nullopt;
  const PluginHost* const host = thread.slot->host.load(std::memory_order_acquire);
  if (thread.slot->call.load(std::memory_order_relaxed) != call) return std::nullopt;
  const auto phase = static_cast<uint32_t>(call & detail::kInside) - 1;
  return RunningCallback{thread.number, thread.id, call, host->name(), phase};
}

}  // namespace

detail::CallbackSlot& detail::make_callback_slot() { return own_registration().slot(); }

void leave_thread_unwatched() { own_registration().leave(); }

std::string_view callback_name(uint32_t phase) {
  static_assert(EXTPROC_PHASE_COUNT + 1 <= detail::kInside);
  return phase < EXTPROC_PHASE_COUNT ? telemetry::to_string(static_cast<telemetry::Phase>(phase))
                                     : "stream_end";
}

std::vector<RunningCallback> running_callbacks() {
  std::vector<RunningCallback> running;
  Threads& all = threads();
  const std::lock_guard lock(all.mutex);
  for (const Thread& thread : all.list) {
    if (auto callback = running_on(thread)) running.push_back(std::move(*callback));
  }
  return running;
}

bool signal_callback(const RunningCallback& callback, int signal, int value) {
  Threads& all = threads();
  const std::lock_guard lock(all.mutex);
  const auto thread = std::ranges::find(all.list, callback.thread, &Thread::number);
  if (thread == all.list.end() || thread->slot->call.load(std::memory_order_relaxed) != callback.call)
    return false;
  sigval with{};
  with.sival_int = value;
  return pthread_sigqueue(thread->handle, signal, with) == 0;
}

void await_watchers() { const std::lock_guard lock(threads().mutex); }

}  // namespace extprocd::engine
