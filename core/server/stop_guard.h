#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace extprocd::server {

/// Ends the process where stopping hangs: a callback that never returns cannot be waited for, nor taken off its thread.
/// One thread makes, starts and destroys it.
class StopGuard {
 public:
  StopGuard() = default;
  StopGuard(const StopGuard&) = delete;
  StopGuard& operator=(const StopGuard&) = delete;
  /// Everything has stopped.
  ~StopGuard();

  /// Unless it is destroyed within this time, the process ends with code 1, and a line of the log that names the callbacks
  /// that have not returned. Once.
  void start(std::chrono::duration<double> time);

 private:
  void wait(std::chrono::duration<double> time);

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace extprocd::server
