#include "later.h"

#include <utility>

namespace faulty {

Later::~Later() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Later::in(std::chrono::nanoseconds delay, std::function<void()> what) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.emplace(Clock::now() + delay, std::move(what));
  }
  changed_.notify_one();
}

void Later::run() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    if (tasks_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = tasks_.begin();
    if (first->first > Clock::now()) {
      changed_.wait_until(lock, first->first);
      continue;
    }
    const std::function<void()> task = std::move(first->second);
    tasks_.erase(first);
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace faulty
