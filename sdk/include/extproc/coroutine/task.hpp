#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <extproc/waiting.hpp>

namespace extproc {
inline namespace v1 {

template <typename T>
class TaskOf;

/// A coroutine that decides what a callback returns: it is run by Stream::run.
using Task = TaskOf<Action>;

namespace detail {

class TaskRun;

/// What a coroutine of the SDK can await.
struct Awaitable {};

/// What promises of all types have.
struct PromiseBase {
  struct Final {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> ended) const noexcept;
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }

  template <typename Awaited>
  Awaited await_transform(Awaited awaited) const {
    static_assert(std::is_base_of_v<Awaitable, Awaited>,
                  "a Task can co_await a Task, extproc::async and extproc::sleep_for; what else there is "
                  "would go on in "
                  "a thread that is not the stream's: give it a Completion");
    return awaited;
  }

  TaskRun* run = nullptr;
  std::coroutine_handle<> awaited_by;  ///< none: the outermost
  std::exception_ptr error;
};

template <typename T>
struct Promise : PromiseBase {
  TaskOf<T> get_return_object() noexcept;
  template <typename From>
  void return_value(From&& from) {
    value.emplace(std::forward<From>(from));
  }
  T result() {
    if (error != nullptr) std::rethrow_exception(error);
    return std::move(*value);
  }

  std::optional<T> value;
};

template <>
struct Promise<void> : PromiseBase {
  TaskOf<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void result() const {
    if (error != nullptr) std::rethrow_exception(error);
  }
};

}  // namespace detail

/// A coroutine that gives a T (or nothing: void) to the coroutine that awaits it: `co_await group_of(user)`. It begins
/// when it is awaited or run, and is destroyed, wherever it stands, with this object. Exceptions go to whoever awaits it.
template <typename T>
class [[nodiscard]] TaskOf : detail::Awaitable {
 public:
  using promise_type = detail::Promise<T>;

  TaskOf(TaskOf&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  TaskOf& operator=(TaskOf&&) = delete;
  ~TaskOf() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept;
  T await_resume() { return handle_.promise().result(); }

 private:
  friend promise_type;
  friend detail::TaskRun;
  explicit TaskOf(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

/// A Task and those that it awaits, of which the innermost runs. They hand over to each other in a loop here, not by
/// calling each other: so the stack does not grow with their number, however the compiler optimizes.
class TaskRun final : public Routine {
 public:
  TaskRun(Waiting& waiting, Task task) noexcept
      : waiting_(waiting), outermost_(std::move(task)), innermost_(outermost_.handle_) {
    outermost_.handle_.promise().run = this;
  }

  std::optional<Action> go_on() override {
    waits_ = false;
    while (!waits_ && !outermost_.handle_.done()) innermost_.resume();
    if (waits_) return std::nullopt;
    return outermost_.handle_.promise().result();
  }

  void enter(std::coroutine_handle<> awaited) noexcept { innermost_ = awaited; }
  void leave_to(std::coroutine_handle<> awaiting) noexcept { innermost_ = awaiting; }

  /// The innermost coroutine suspends until the stream is resumed.
  Resume wait() {
    Resume resume = waiting_.suspend();
    waits_ = true;
    return resume;
  }
  void wait_for(std::uint64_t nanoseconds) {
    const Resume unused = waiting_.suspend();
    waiting_.resume_after(nanoseconds, nullptr);
    waits_ = true;
  }

 private:
  Waiting& waiting_;
  Task outermost_;
  std::coroutine_handle<> innermost_;
  bool waits_ = false;
};

inline std::unique_ptr<Routine> make_routine(Waiting& waiting, Task task) {
  return std::make_unique<TaskRun>(waiting, std::move(task));
}

template <typename Promise>
void PromiseBase::Final::await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
  const PromiseBase& promise = ended.promise();
  if (promise.awaited_by) promise.run->leave_to(promise.awaited_by);
}

template <typename T>
TaskOf<T> Promise<T>::get_return_object() noexcept {
  return TaskOf<T>(std::coroutine_handle<Promise>::from_promise(*this));
}

inline TaskOf<void> Promise<void>::get_return_object() noexcept {
  return TaskOf<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace detail

template <typename T>
template <typename Promise>
void TaskOf<T>::await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
  detail::PromiseBase& promise = handle_.promise();
  promise.run = awaiting.promise().run;
  promise.awaited_by = awaiting;
  promise.run->enter(handle_);
}

}  // namespace v1
}  // namespace extproc
