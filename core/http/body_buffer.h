#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <extproc/abi.h>

namespace extprocd::http {

/// Bytes of a body on their way through the plugins: slices that are either owned, shared with other buffers, or
/// borrowed from the message that brought them. Whoever keeps a buffer longer than that message calls own().
///
/// In a buffer of messages (body mode GRPC) each slice is one gRPC message, which may be empty; in others empty
/// slices do not exist. One thread at a time.
class BodyBuffer {
 public:
  /// A place between two bytes, or between two slices.
  struct Place {
    std::size_t slice = 0;
    std::size_t offset = 0;  ///< in that slice, less than its size
  };

  explicit BodyBuffer(bool of_messages = false) : of_messages_(of_messages) {}
  BodyBuffer(BodyBuffer&& other) noexcept { *this = std::move(other); }
  /// Leaves the other one empty.
  BodyBuffer& operator=(BodyBuffer&& other) noexcept {
    of_messages_ = other.of_messages_;
    size_ = std::exchange(other.size_, 0);
    views_ = std::exchange(other.views_, {});
    owners_ = std::exchange(other.owners_, {});
    return *this;
  }

  [[nodiscard]] bool of_messages() const { return of_messages_; }
  /// Has it no slice? A buffer of one empty message is not empty.
  [[nodiscard]] bool empty() const { return views_.empty(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Valid until the buffer changes.
  [[nodiscard]] std::span<const extproc_str> slices() const { return views_; }
  /// Is this slice a compressed gRPC message?
  [[nodiscard]] bool compressed(std::size_t slice) const { return owners_[slice].compressed; }

  /// `bytes` stay valid until own(), or until the buffer is gone.
  void add_borrowed(std::string_view bytes, bool compressed = false);
  void add_copy(std::string_view bytes);
  /// The slices of another buffer between two places, not copied.
  void add_between(const BodyBuffer& from, Place begin, Place end);
  void add(BodyBuffer&& other);

  [[nodiscard]] Place end() const { return {views_.size(), 0}; }
  /// The place `size` bytes behind another, or the end. Of empty messages it passes one if `size` is 0.
  [[nodiscard]] Place advance(Place from, std::size_t size) const;
  /// Bytes from a place to the end.
  [[nodiscard]] std::size_t size_from(Place place) const;

  /// Makes copies of what is borrowed.
  void own();
  /// The same slices, shared. Of a buffer that owns them all, for another thread too.
  [[nodiscard]] BodyBuffer share() const;
  /// All bytes in one view; copies, and makes one slice of all, if there are more. Not for buffers of messages. Valid
  /// until the buffer changes.
  [[nodiscard]] std::string_view joined();
  void clear();

 private:
  using Bytes = std::shared_ptr<const std::string>;
  struct Owner {
    Bytes bytes;  // null: borrowed
    bool compressed = false;
  };

  void add(extproc_str view, Owner owner);

  bool of_messages_ = false;
  std::size_t size_ = 0;
  std::vector<extproc_str> views_;
  std::vector<Owner> owners_;  // of the same places
};

}  // namespace extprocd::http
