#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>

#include <extproc/coroutine/task.hpp>
#include <extproc/nanoseconds.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

class Sleep : Awaitable {
 public:
  explicit Sleep(std::uint64_t nanoseconds) noexcept : nanoseconds_(nanoseconds) {}

  bool await_ready() const noexcept { return nanoseconds_ == 0; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
    try {
      awaiting.promise().run->wait_for(nanoseconds_);
      return true;
    } catch (...) {
      error_ = std::current_exception();
      return false;
    }
  }
  void await_resume() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  std::uint64_t nanoseconds_;
  std::exception_ptr error_;
};

}  // namespace detail

/// Waits for a time: `co_await extproc::sleep_for(std::chrono::milliseconds(5));`. No time, or less, is no waiting. Throws
/// Refused where waiting is not possible.
template <typename Count, typename Period>
[[nodiscard]] detail::Sleep sleep_for(std::chrono::duration<Count, Period> time) noexcept {
  return detail::Sleep(detail::to_nanoseconds(time));
}

}  // namespace v1
}  // namespace extproc
