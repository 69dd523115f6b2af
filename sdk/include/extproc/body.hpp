#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {

/// Is this the end of the direction? In a headers phase: no body follows. In a body phase: the last piece,
/// and no trailers follow.
class EndOfStream {
 public:
  explicit constexpr EndOfStream(bool end) noexcept : end_(end) {}
  explicit constexpr operator bool() const noexcept { return end_; }

 private:
  bool end_;
};

/// One piece of a body (all of it in BUFFERED mode), read-only: a list of slices that the host owns.
///
/// [stream]: everything it hands out is valid until the end of the callback. Keep bytes by copying them.
class Body {
 public:
  /// Made by the SDK.
  Body(const extproc_host* host, extproc_call* call) noexcept {
    if (host->body(call, &slices_, &count_) != EXTPROC_OK) count_ = 0;
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  std::size_t slice_count() const noexcept { return count_; }
  /// A slice; `index` is less than slice_count().
  std::string_view slice(std::size_t index) const noexcept { return detail::from_abi(slices_[index]); }

  /// Bytes in all slices.
  std::size_t size() const noexcept {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < count_; ++i) bytes += slices_[i].size;
    return bytes;
  }
  bool empty() const noexcept { return size() == 0; }

  /// Appends all bytes to `text`.
  void append_to(std::string& text) const {
    text.reserve(text.size() + size());
    for (std::size_t i = 0; i < count_; ++i) text.append(slice(i));
  }

  /// All bytes as one view. Copies, once, only if there is more than one slice.
  std::string_view view() const {
    if (count_ == 0) return {};
    if (count_ == 1) return slice(0);
    if (joined_.empty()) append_to(joined_);
    return joined_;
  }

 private:
  const extproc_str* slices_ = nullptr;
  std::size_t count_ = 0;
  mutable std::string joined_;
};

}  // namespace v1
}  // namespace extproc
