#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <variant>

#include <extproc/resume.hpp>
#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

/// What an asynchronous call came to, shared by the coroutine that awaits it and the copies of its Completion.
template <typename T>
class Outcome {
 public:
  struct Nothing {};
  using Value = std::conditional_t<std::is_void_v<T>, Nothing, T>;

  /// [any-thread] Returns whether it was the first and somebody awaits it still.
  bool complete(Value value) noexcept { return put<kValue>(std::move(value)); }
  bool fail(std::exception_ptr error) noexcept { return put<kError>(std::move(error)); }

  /// [any-thread] Nobody has completed it, and it is awaited still.
  bool open() noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    return is_open();
  }

  /// [stream] If it is not complete, has `suspend` make the Resume that completing it calls. Returns whether there is
  /// something to wait for.
  template <typename Suspend>
  bool wait(Suspend suspend) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!is_open()) return false;
    try {
      resume_ = suspend();
      return true;
    } catch (...) {
      result_.template emplace<kError>(std::current_exception());
      return false;
    }
  }

  /// [stream] When it is complete.
  T take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (result_.index() == kError) std::rethrow_exception(std::get<kError>(result_));
    if constexpr (!std::is_void_v<T>) return std::move(std::get<kValue>(result_));
  }

  /// [stream] Nobody awaits it any more.
  void abandon() noexcept {
    std::variant<Nothing, Value, std::exception_ptr> unused;
    const std::lock_guard<std::mutex> lock(mutex_);
    abandoned_ = true;
    unused.swap(result_);
  }

 private:
  enum Index : std::size_t { kOpen, kValue, kError };

  bool is_open() const noexcept { return result_.index() == kOpen && !abandoned_; }

  template <Index index, typename Result>
  bool put(Result result) noexcept {
    Resume resume;
    bool taken = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      taken = is_open();
      if (taken) store<index>(std::move(result));
      std::swap(resume, resume_);
    }
    resume();  // also when it is late, so that the host counts it
    return taken;
  }

  template <Index index, typename Result>
  void store(Result result) noexcept {
    try {
      result_.template emplace<index>(std::move(result));
    } catch (...) {
      result_.template emplace<kError>(std::current_exception());
    }
  }

  std::mutex mutex_;
  std::variant<Nothing, Value, std::exception_ptr> result_;
  bool abandoned_ = false;
  Resume resume_;
};

}  // namespace detail

/// Completes what a coroutine awaits, see async: call it with the T (with nothing, if T is void), or fail() with an
/// exception, which is thrown at the co_await.
///
/// [any-thread] Copy it, move it, keep it, call it whenever you like, also before the function that got it returns. The
/// first call counts; what comes later, or when the stream or its time is over, does nothing and is answered with false. If
/// the last copy is gone without having been called, the co_await throws an extproc::Error that says so.
template <typename T>
class Completion {
 public:
  using Value = typename detail::Outcome<T>::Value;

  /// Made by the SDK.
  explicit Completion(std::shared_ptr<detail::Outcome<T>> outcome)
      : holder_(std::make_shared<Holder>(std::move(outcome))) {}

  bool operator()(Value value) const
    requires(!std::is_void_v<T>)
  {
    return holder_->outcome->complete(std::move(value));
  }
  bool operator()() const
    requires(std::is_void_v<T>)
  {
    return holder_->outcome->complete({});
  }

  bool fail(std::exception_ptr error) const { return holder_->outcome->fail(std::move(error)); }
  template <typename Exception>
  bool fail(Exception exception) const
    requires(!std::is_same_v<Exception, std::exception_ptr>)
  {
    return fail(std::make_exception_ptr(std::move(exception)));
  }

  /// Does somebody wait for it still? By the time that you look at the answer, it may be over.
  bool waiting() const noexcept { return holder_->outcome->open(); }

 private:
  /// What all copies have in common, to notice that the last one is gone.
  struct Holder {
    explicit Holder(std::shared_ptr<detail::Outcome<T>> held) noexcept : outcome(std::move(held)) {}
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    ~Holder() {
      if (!outcome->open()) return;
      outcome->fail(std::make_exception_ptr(Error(
          GrpcCode::kInternal, "what a coroutine awaits gave up its last Completion without completing")));
    }

    const std::shared_ptr<detail::Outcome<T>> outcome;
  };

  std::shared_ptr<Holder> holder_;
};

}  // namespace v1
}  // namespace extproc
