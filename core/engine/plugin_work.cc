#include "core/engine/plugin_work.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

/// A module's function; one without the C++ layer may let an exception out.
void call(extproc_work work, void* data, bool dropped, const std::string& log_name) noexcept {
  const auto report = [&](const std::string& what) {
    telemetry::log(telemetry::Level::kError, log_name, "work let an exception out: " + what);
  };
  try {
    work(data, dropped ? 1 : 0);
  } catch (const std::exception& exception) {
    report(exception.what());
  } catch (...) {
    report("of unknown type");
  }
}

WorkerPool::Duration duration(uint64_t nanoseconds) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return WorkerPool::Duration(static_cast<int64_t>(std::min(nanoseconds, kMost)));
}

}  // namespace

WorkerPool::Job PluginWork::job(const Work& work) const {
  return [work, &log_name = log_name_](bool dropped) { call(work.function, work.data, dropped, log_name); };
}

extproc_status PluginWork::run(uint64_t delay_ns, extproc_work function, void* data) {
  if (function == nullptr) return EXTPROC_INVALID;
  if (workers_ == nullptr) return EXTPROC_UNSUPPORTED;
  const Work work{delay_ns, function, data};
  // Held while it is submitted, so that end() comes before or after it.
  const std::lock_guard lock(mutex_);
  switch (state_) {
    case State::kCreating:
      if (early_.size() >= workers_->settings().max_queue) return EXTPROC_LIMIT;
      early_.push_back(work);
      return EXTPROC_OK;
    case State::kOpen:
      return workers_->submit_after(duration(delay_ns), job(work), this) ? EXTPROC_OK : EXTPROC_LIMIT;
    case State::kEnded:
      break;
  }
  return EXTPROC_TOO_LATE;
}

void PluginWork::begin() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kCreating) return;
  state_ = State::kOpen;
  // It was accepted, whatever waits by now.
  for (const Work& work : std::exchange(early_, {})) {
    workers_->submit_always(job(work), this, duration(work.delay_ns));
  }
}

void PluginWork::end() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(state_, State::kEnded) == State::kEnded) return;
  }
  if (workers_ == nullptr) return;
  for (const Work& work : std::exchange(early_, {})) call(work.function, work.data, true, log_name_);
  workers_->give_up(this);
}

}  // namespace extprocd::engine
