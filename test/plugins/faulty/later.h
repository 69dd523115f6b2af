#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace faulty {

/// A thread that does things later. What is not done when it is destroyed is not done at all. Thread-safe.
class Later {
 public:
  using Clock = std::chrono::steady_clock;

  Later() : thread_([this] { run(); }) {}
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;
  ~Later();

  void in(std::chrono::nanoseconds delay, std::function<void()> what);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Clock::time_point, std::function<void()>> tasks_;
  bool over_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace faulty
