#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/wire/pieces.h"

namespace extprocd::wire {

/// Writes the protobuf wire form from its last byte to its first, so that the length of a submessage is known
/// when it has to be written. Callers therefore put what comes last first. The buffer is kept from message to
/// message. One field of a message may be borrowed instead of copied.
class Encoder {
 public:
  /// Begins anew.
  void clear() {
    begin_ = buffer_.size();
    borrowed_ = {};
  }
  /// What was put since clear(), if nothing was borrowed; valid until the next call that changes it.
  [[nodiscard]] std::string_view view() const { return std::string_view(buffer_).substr(begin_); }
  /// What was put since clear(); valid as view() is, and as long as what was borrowed.
  [[nodiscard]] Pieces pieces() const;

  /// Bytes that are kept from message to message.
  [[nodiscard]] std::size_t buffer_size() const { return buffer_.size(); }

  void put_varint(uint32_t field, uint64_t value);
  void put_double(uint32_t field, double value);
  void put_bytes(uint32_t field, std::string_view value);
  /// Whole fields that were encoded before.
  void put_fields(std::string_view encoded);
  /// As put_bytes(), but pieces() will show `value` itself. Once a message.
  void put_borrowed(uint32_t field, std::string_view value);
  /// Fields that proto3 leaves out when they have the default value.
  void put_flag(uint32_t field, bool value) {
    if (value) put_varint(field, 1);
  }
  void put_number(uint32_t field, int64_t value) {
    if (value != 0) put_varint(field, static_cast<uint64_t>(value));
  }
  /// A submessage; `contents` puts its fields.
  template <typename Contents>
  void put_message(uint32_t field, Contents&& contents) {
    const std::size_t behind = size();
    contents();
    put_bare_varint(size() - behind);
    put_tag(field, kLengthDelimited);
  }

 private:
  enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2 };

  [[nodiscard]] std::size_t size() const { return buffer_.size() - begin_ + borrowed_.size(); }
  /// Room for so many bytes before what is there; returns where it begins.
  char* extend(std::size_t size);
  void put_bare_varint(uint64_t value);
  void put_tag(uint32_t field, WireType type) { put_bare_varint(field << 3 | type); }

  std::string buffer_;  // filled at its end
  std::size_t begin_ = 0;
  std::string_view borrowed_;
  std::size_t behind_borrowed_ = 0;  // bytes of the buffer that come after it
};

}  // namespace extprocd::wire
