#pragma once

#include <coroutine>
#include <memory>
#include <type_traits>
#include <utility>

#include <extproc/coroutine/completion.hpp>
#include <extproc/coroutine/task.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

template <typename T, typename Begin>
class Async : Awaitable {
 public:
  explicit Async(Begin&& begin) : begin_(std::forward<Begin>(begin)) {}
  Async(Async&&) = default;
  Async& operator=(Async&&) = delete;
  ~Async() {
    if (outcome_ != nullptr) outcome_->abandon();
  }

  bool await_ready() {
    outcome_ = std::make_shared<Outcome<T>>();
    begin_(Completion<T>(outcome_));
    return false;
  }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
    return outcome_->wait([&] { return awaiting.promise().run->wait(); });
  }
  T await_resume() { return outcome_->take(); }

 private:
  Begin begin_;
  std::shared_ptr<Outcome<T>> outcome_;
};

}  // namespace detail

/// Calls something that answers later, and waits for its answer, a T or nothing (void):
///
///     const auto group = co_await extproc::async<std::string>(
///         [&](extproc::Completion<std::string> done) { client.look_up(user, done); });
///
/// `begin` runs at once, on the stream's thread, so it may capture by reference; what it hands to other threads must not
/// refer to variables of the coroutine, which may be gone when they run. If the answer is there when it returns, the
/// stream does not wait. Throws what `begin` throws, what Completion::fail was given, and Refused where waiting is not
/// possible.
template <typename T, typename Begin>
[[nodiscard]] detail::Async<T, Begin> async(Begin&& begin) {
  static_assert(std::is_void_v<T> || std::is_object_v<T>, "async gives an object or void, no reference");
  static_assert(std::is_invocable_v<Begin&, Completion<T>>,
                "async<T> takes a callable that gets an extproc::Completion<T>");
  static_assert(
      std::is_lvalue_reference_v<Begin> || std::is_trivially_destructible_v<Begin>,
      "async calls this at once: capture by reference, [&], or give it a name first; what a lambda owns that "
      "has none is destroyed twice by GCC 12");
  return detail::Async<T, Begin>(std::forward<Begin>(begin));
}

}  // namespace v1
}  // namespace extproc
