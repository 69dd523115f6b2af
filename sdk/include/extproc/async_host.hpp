#pragma once

#include <cstdint>
#include <mutex>
#include <shared_mutex>

#include <extproc/abi.h>

namespace extproc {
inline namespace v1 {
namespace detail {

/// extproc.async/1 as a Resume needs it, which may be kept longer than its stream and even its plugin: the host is
/// called only until the plugin has been destroyed. [any-thread]
class AsyncHost {
 public:
  explicit AsyncHost(const extproc_host* host) noexcept
      : host_(host),
        api_(static_cast<const extproc_async_api*>(host->get_extension(host, EXTPROC_ASYNC_1))) {}

  /// Null where the host has no such extension.
  const extproc_async_api* table() const noexcept { return api_; }

  bool resume(extproc_resume_handle handle, std::uint64_t token) noexcept {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    return host_ != nullptr && api_->resume(host_, handle, token) == EXTPROC_OK;
  }

  bool is_waiting(extproc_resume_handle handle) noexcept {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    return host_ != nullptr && api_->is_waiting(host_, handle) != 0;
  }

  /// From here on nothing of the host is called.
  void close() noexcept {
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    host_ = nullptr;
  }

 private:
  std::shared_mutex mutex_;
  const extproc_host* host_;
  const extproc_async_api* api_;
};

}  // namespace detail
}  // namespace v1
}  // namespace extproc
