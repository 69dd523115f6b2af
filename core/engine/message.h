#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace extprocd::engine {

/// The bytes of one gRPC message, contiguous. Either owned by whatever the transport received them in, which is
/// released with this object, or borrowed: then they are valid only during the call that hands them over, and
/// who needs them longer copies them. Move-only. One thread at a time.
class Message {
 public:
  using Release = void (*)(void* owner);

  Message() = default;
  /// `bytes` stay valid until `release(owner)` is called, once.
  Message(std::string_view bytes, void* owner, Release release)
      : bytes_(bytes), owner_(owner), release_(release) {}

  static Message borrow(std::string_view bytes) { return {bytes, nullptr, nullptr}; }
  /// A message that owns a copy; for tests and for transports whose bytes are in pieces.
  static Message copy(std::string_view bytes) {
    auto* owner = new std::string(bytes);
    return Message(*owner, owner, [](void* text) { delete static_cast<std::string*>(text); });
  }

  Message(Message&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})),
        owner_(std::exchange(other.owner_, nullptr)),
        release_(std::exchange(other.release_, nullptr)) {}
  Message& operator=(Message&& other) noexcept {
    if (this != &other) {
      reset();
      bytes_ = std::exchange(other.bytes_, {});
      owner_ = std::exchange(other.owner_, nullptr);
      release_ = std::exchange(other.release_, nullptr);
    }
    return *this;
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { reset(); }

  /// Makes a copy of what is borrowed.
  void own() {
    if (release_ == nullptr) *this = copy(bytes_);
  }

  [[nodiscard]] std::string_view bytes() const { return bytes_; }

 private:
  void reset() {
    if (release_ != nullptr) release_(owner_);
    release_ = nullptr;
  }

  std::string_view bytes_;
  void* owner_ = nullptr;
  Release release_ = nullptr;
};

}  // namespace extprocd::engine
