#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <extproc/abi.h>

namespace extproc_test {

/// The suspensions of a fake host, and a clock that stands still until the test moves it. [any-thread]
class FakeAsync {
 public:
  extproc_resume_handle suspend() {
    const std::lock_guard lock(mutex_);
    waiting_.emplace(++last_, Waiting{});
    return last_;
  }

  extproc_status resume(extproc_resume_handle handle, uint64_t token) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(handle);
    if (found == waiting_.end() || found->second.token) {
      ++ignored_;
      return EXTPROC_NOT_FOUND;
    }
    found->second.token = token;
    changed_.notify_all();
    return EXTPROC_OK;
  }

  extproc_status resume_after(extproc_resume_handle handle, uint64_t nanoseconds, uint64_t token) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(handle);
    if (found == waiting_.end() || found->second.timer) return EXTPROC_LIMIT;
    found->second.timer.emplace(now_ + nanoseconds, token);
    return EXTPROC_OK;
  }

  bool is_waiting(extproc_resume_handle handle) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(handle);
    return found != waiting_.end() && !found->second.token;
  }

  /// Time passes; timers that are due resume.
  void pass(std::chrono::nanoseconds time) {
    const std::lock_guard lock(mutex_);
    now_ += static_cast<uint64_t>(time.count());
    for (auto& [handle, waiting] : waiting_) {
      if (waiting.timer && waiting.timer->first <= now_ && !waiting.token)
        waiting.token = waiting.timer->second;
    }
    changed_.notify_all();
  }

  /// Waits until the handle has been resumed; its suspension is over then. Nothing: it was not, within ten seconds.
  std::optional<uint64_t> take(extproc_resume_handle handle) {
    std::unique_lock lock(mutex_);
    const auto found = waiting_.find(handle);
    if (found == waiting_.end()) return std::nullopt;
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return found->second.token.has_value(); });
    const std::optional<uint64_t> token = found->second.token;
    waiting_.erase(found);
    return token;
  }

  void forget(extproc_resume_handle handle) {
    const std::lock_guard lock(mutex_);
    waiting_.erase(handle);
  }

  /// Resumes that did nothing.
  int ignored() {
    const std::lock_guard lock(mutex_);
    return ignored_;
  }
  /// Suspensions that there were.
  uint64_t begun() {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  struct Waiting {
    std::optional<uint64_t> token;
    std::optional<std::pair<uint64_t, uint64_t>> timer;  ///< when, and its token
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<extproc_resume_handle, Waiting> waiting_;
  extproc_resume_handle last_ = 0;
  uint64_t now_ = 0;
  int ignored_ = 0;
};

/// The work that a fake host was given; it runs when the test says so. What is left is dropped.
class FakeWork {
 public:
  FakeWork() = default;
  FakeWork(const FakeWork&) = delete;
  FakeWork& operator=(const FakeWork&) = delete;
  ~FakeWork() { drop(); }

  extproc_status answer = EXTPROC_OK;
  std::vector<uint64_t> delays;  ///< of all that was accepted, in nanoseconds

  extproc_status add(uint64_t delay_ns, extproc_work work, void* data) {
    if (answer != EXTPROC_OK) return answer;
    delays.push_back(delay_ns);
    waiting_.emplace_back(work, data);
    return EXTPROC_OK;
  }
  void run() { give(0); }
  void drop() { give(1); }

 private:
  void give(uint32_t dropped) {
    for (const auto& [work, data] : std::exchange(waiting_, {})) work(data, dropped);
  }

  std::vector<std::pair<extproc_work, void*>> waiting_;
};

}  // namespace extproc_test
