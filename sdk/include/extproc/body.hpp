#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <extproc/host.hpp>

namespace extproc {
inline namespace v1 {

/// What a plugin does with a body. The plugin class declares it per direction, and the server finds the way
/// in whichever mode the data plane sends that body:
///
///     static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kWhole;
///     static constexpr extproc::BodyAccess response_body_access = extproc::BodyAccess::kStream;
///
/// Without a declaration a body callback observes.
enum class BodyAccess : std::uint32_t {
  kObserve = EXTPROC_ACCESS_OBSERVE,       ///< read each piece as it comes
  kEditChunk = EXTPROC_ACCESS_EDIT_CHUNK,  ///< change or clear each piece, one for one
  kWhole = EXTPROC_ACCESS_WHOLE,    ///< one call with the complete body, up to the plugin's max_body_bytes
  kStream = EXTPROC_ACCESS_STREAM,  ///< hold back, let go, cut anew, add at the end
};

/// Is this the end? In a headers phase: no body follows. In a body phase: no more of the body comes to this
/// plugin, trailers may follow. That call may be one with no bytes. It comes once, but not where the data
/// plane does not tell: the end of a body that is followed by trailers which the data plane keeps to itself.
class EndOfStream {
 public:
  explicit constexpr EndOfStream(bool end) noexcept : end_(end) {}
  explicit constexpr operator bool() const noexcept { return end_; }

 private:
  bool end_;
};

/// A body, or a piece of it: a list of slices that the host owns. A callback that takes `const Body&` looks at
/// it, one that takes `Body&` changes it.
///
/// What goes on is what the changes below make of it, in their order, and behind that what is left. Changes
/// do not show in slice(), size() and view(). Each exists twice: `replace` throws Refused if the host refuses,
/// `try_replace` returns the Status; nothing has changed then. Bytes that are handed in are copied.
///
/// Refusals: kLimit for more bytes in one callback than the server takes, kUnsupported where this access, data
/// plane or body mode does not allow it; in gRPC body mode only whole messages can be forwarded and dropped.
///
/// [stream]: everything it hands out is valid until the end of the callback. Keep bytes by copying them.
class Body {
 public:
  /// Made by the SDK. `flags` are those of on_phase.
  Body(const Host& host, extproc_call* call, std::uint32_t flags) noexcept
      : host_(&host), call_(call), flags_(flags) {
    if (host.table()->body(call, &slices_, &count_) != EXTPROC_OK) count_ = 0;
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  /// What was held back comes first, then the new piece. In gRPC body mode a slice is a gRPC message.
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

  /// Does more of the body, if there is more, pass unseen (BUFFERED_PARTIAL)?
  bool partial() const noexcept { return (flags_ & EXTPROC_PARTIAL_BODY) != 0; }
  /// Is the gRPC message compressed? Only in gRPC body mode.
  bool compressed() const noexcept { return (flags_ & EXTPROC_COMPRESSED_MESSAGE) != 0; }

  /// Puts these bytes where what is left of the body was. Call it once: what was written before stays.
  void replace(std::string_view bytes) { check("replace the body", try_replace(bytes)); }
  Status try_replace(std::string_view bytes) noexcept {
    const Status written = try_write(bytes);  // first: if it is refused, nothing has changed
    return written == Status::kOk ? try_clear() : written;
  }

  /// Takes all that is left out.
  void clear() { check("clear the body", try_clear()); }
  Status try_clear() noexcept { return try_drop(SIZE_MAX); }

  /// Lets all that is left go on, and these bytes behind it.
  void append(std::string_view bytes) { check("append to the body", try_append(bytes)); }
  Status try_append(std::string_view bytes) noexcept {
    const Status forwarded = try_forward(SIZE_MAX);
    return forwarded == Status::kOk ? try_write(bytes) : forwarded;
  }

  /// Lets the next `size` bytes go on as they are, or all if there are fewer.
  void forward(std::size_t size) { check("forward of the body", try_forward(size)); }
  Status try_forward(std::size_t size) noexcept {
    const extproc_body_api* api = host_->body_table();
    return api == nullptr ? Status::kUnsupported : detail::to_status(api->forward(call_, size));
  }

  /// Takes the next `size` bytes out, or all if there are fewer.
  void drop(std::size_t size) { check("drop of the body", try_drop(size)); }
  Status try_drop(std::size_t size) noexcept {
    const extproc_body_api* api = host_->body_table();
    return api == nullptr ? Status::kUnsupported : detail::to_status(api->drop(call_, size));
  }

  /// Adds bytes of your own: behind what has been forwarded and written, before what is left. In gRPC body
  /// mode they are one gRPC message, not compressed.
  void write(std::string_view bytes) { check("write to the body", try_write(bytes)); }
  Status try_write(std::string_view bytes) noexcept {
    const extproc_body_api* api = host_->body_table();
    return api == nullptr ? Status::kUnsupported
                          : detail::to_status(api->write(call_, detail::to_abi(bytes)));
  }

 private:
  void check(std::string_view what, Status status) const {
    if (status != Status::kOk) detail::check(status, what, host_->table(), call_);
  }

  const Host* host_;
  extproc_call* call_;
  std::uint32_t flags_;
  const extproc_str* slices_ = nullptr;
  std::size_t count_ = 0;
  mutable std::string joined_;
};

}  // namespace v1
}  // namespace extproc
