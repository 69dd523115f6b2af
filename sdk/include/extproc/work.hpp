#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

/// Work for the host's workers, on its way: kept on the heap, freed when it has run or is dropped.
template <typename Callable>
class Work {
 public:
  template <typename From>
  Work(const extproc_host* host, From&& callable) : host_(host), callable_(std::forward<From>(callable)) {}

  /// An extproc_work; takes over what `data` points to.
  static void run(void* data, std::uint32_t dropped) noexcept {
    const std::unique_ptr<Work> work(static_cast<Work*>(data));
    if (dropped != 0) return;
    try {
      try {
        static_cast<void>(work->callable_());
      } catch (const std::exception& exception) {
        work->log(std::string("exception in work on a worker: ") + exception.what());
      }
    } catch (...) {
      work->log("exception in work on a worker");
    }
  }

 private:
  void log(std::string_view text) const noexcept { host_->log(host_, EXTPROC_LOG_ERROR, to_abi(text)); }

  const extproc_host* host_;
  Callable callable_;
};

/// Returns the host's answer; unless that is kOk, the callable has been destroyed.
template <typename Callable>
Status hand_over(const extproc_work_api* api, const extproc_host* host, std::uint64_t delay_ns,
                 Callable&& callable) {
  using Kept = Work<std::decay_t<Callable>>;
  static_assert(std::is_invocable_v<std::decay_t<Callable>&>, "work for a worker takes no arguments");
  if (api == nullptr) return Status::kUnsupported;
  auto work = std::make_unique<Kept>(host, std::forward<Callable>(callable));
  const Status status = to_status(api->run(host, delay_ns, &Kept::run, work.get()));
  if (status == Status::kOk) static_cast<void>(work.release());  // the host calls run, once
  return status;
}

}  // namespace detail
}  // namespace v1
}  // namespace extproc
