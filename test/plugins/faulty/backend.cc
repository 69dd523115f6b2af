#include "backend.h"

#include <chrono>

namespace faulty {

void Backend::ask(extproc_resume_handle handle) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(handle);
  if (busy_) return;
  next_ = Later::Clock::now();
  work();
}

void Backend::work() {
  busy_ = true;
  // By the clock, so that it is no slower where the thread wakes up late.
  next_ += std::chrono::nanoseconds(std::chrono::seconds(1)) / per_second_;
  later_.in(next_ - Later::Clock::now(), [this] {
    const std::lock_guard lock(mutex_);
    bool done = false;
    while (!done && !queue_.empty()) {
      done = host_.async->resume(host_.table, queue_.front(), kToken) == EXTPROC_OK;
      queue_.pop_front();
    }
    busy_ = false;
    if (!queue_.empty()) work();
  });
}

}  // namespace faulty
