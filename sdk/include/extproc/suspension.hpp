#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include <extproc/action.hpp>
#include <extproc/async_host.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

/// What is to run on the stream's thread when a stream goes on: a callable, which need not be copyable.
class Continuation {
 public:
  Continuation() = default;
  Continuation(const Continuation&) = delete;
  Continuation& operator=(const Continuation&) = delete;
  virtual ~Continuation() = default;
  virtual Action run() = 0;
};

template <typename Callable>
class ContinuationOf final : public Continuation {
 public:
  template <typename From>
  explicit ContinuationOf(From&& callable) : callable_(std::forward<From>(callable)) {}
  Action run() override { return callable_(); }

 private:
  Callable callable_;
};

template <typename Callable>
std::unique_ptr<Continuation> continuation(Callable&& callable) {
  using Kept = std::decay_t<Callable>;
  static_assert(std::is_invocable_r_v<Action, Kept&>,
                "a callable that resumes takes nothing and returns an extproc::Action: "
                "`resume([this] { return extproc::proceed(); })`");
  return std::make_unique<ContinuationOf<Kept>>(std::forward<Callable>(callable));
}

/// One suspension, shared by the Stream that waits and the copies of its Resume. What is to run belongs to it, so
/// that it is destroyed with it, however it ends. [any-thread] but where it says something else.
class Suspension {
 public:
  /// What on_resumed is called with.
  enum Token : std::uint64_t {
    kResumed,
    kTimer,
    kDropped,  ///< nobody can resume any more
  };

  explicit Suspension(std::shared_ptr<AsyncHost> host) noexcept : host_(std::move(host)) {}
  Suspension(const Suspension&) = delete;
  Suspension& operator=(const Suspension&) = delete;

  /// [stream] Before any Resume is given out.
  Status begin(extproc_call* call) noexcept { return to_status(host_->table()->suspend(call, &handle_)); }

  /// [stream] The other way to go on, unless somebody resumes first.
  Status resume_after(extproc_call* call, std::uint64_t nanoseconds, std::unique_ptr<Continuation> then) {
    const Status status = to_status(host_->table()->resume_after(call, handle_, nanoseconds, kTimer));
    if (status != Status::kOk) return status;
    const std::lock_guard<std::mutex> lock(mutex_);
    has_timer_ = true;
    on_timer_ = std::move(then);
    return status;
  }

  /// Returns whether this is what resumes it; if not, `then` is destroyed by the caller. The host is asked also when
  /// the answer is known, because it counts what comes late or twice.
  bool resume(std::unique_ptr<Continuation> then) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool first = open_;
    if (first) on_resume_.swap(then);
    const bool taken = host_->resume(handle_, kResumed);
    if (first && !taken) on_resume_.swap(then);  // the timer was sooner
    open_ = open_ && !taken;
    return taken;
  }

  /// The last Resume is gone.
  void drop() noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!open_ || has_timer_) return;
    open_ = false;
    host_->resume(handle_, kDropped);
  }

  bool waiting() noexcept { return host_->is_waiting(handle_); }

  /// [stream] It is over: resuming is harmless from here on. Returns what is to run for this token.
  std::unique_ptr<Continuation> end(std::uint64_t token) noexcept {
    std::unique_ptr<Continuation> on_resume;
    std::unique_ptr<Continuation> on_timer;
    {  // what they hold may resume once more when it is destroyed
      const std::lock_guard<std::mutex> lock(mutex_);
      open_ = false;
      on_resume.swap(on_resume_);
      on_timer.swap(on_timer_);
    }
    return token == kTimer ? std::move(on_timer) : std::move(on_resume);
  }

 private:
  const std::shared_ptr<AsyncHost> host_;
  extproc_resume_handle handle_ = 0;
  std::mutex mutex_;
  bool open_ = true;  ///< nobody has resumed it, and it is not over
  bool has_timer_ = false;
  std::unique_ptr<Continuation> on_resume_;
  std::unique_ptr<Continuation> on_timer_;
};

}  // namespace detail
}  // namespace v1
}  // namespace extproc
