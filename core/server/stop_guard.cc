#include "core/server/stop_guard.h"

#include <cstdlib>
#include <string>

#include "core/engine/callback_watch.h"
#include "core/telemetry/log.h"

namespace extprocd::server {

StopGuard::~StopGuard() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void StopGuard::start(std::chrono::duration<double> time) {
  thread_ = std::thread([this, time] { wait(time); });
}

void StopGuard::wait(std::chrono::duration<double> time) {
  std::unique_lock lock(mutex_);
  if (stopped_.wait_for(lock, time, [this] { return is_stopped_; })) return;
  std::string text = "could not stop, ends all the same";
  for (const engine::RunningCallback& callback : engine::running_callbacks()) {
    text += "; plugin " + callback.plugin + " has not returned from " +
            std::string(engine::callback_name(callback.phase));
  }
  telemetry::log(telemetry::Level::kError, "server", text);
  std::_Exit(EXIT_FAILURE);
}

}  // namespace extprocd::server
