#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace extprocd::wire {

/// Writes the protobuf wire form from its last byte to its first, so that the length of a submessage is known
/// when it has to be written. Callers therefore put what comes last first. The buffer is kept from message to
/// message.
class Encoder {
 public:
  /// Begins anew.
  void clear() { begin_ = buffer_.size(); }
  /// What was put since clear(); valid until the next call that changes it.
  [[nodiscard]] std::string_view view() const { return std::string_view(buffer_).substr(begin_); }

  void put_varint(uint32_t field, uint64_t value);
  void put_double(uint32_t field, double value);
  void put_bytes(uint32_t field, std::string_view value);
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
    const std::size_t behind = view().size();
    contents();
    put_bare_varint(view().size() - behind);
    put_tag(field, kLengthDelimited);
  }

 private:
  enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2 };

  /// Room for so many bytes before what is there; returns where it begins.
  char* extend(std::size_t size);
  void put_bare_varint(uint64_t value);
  void put_tag(uint32_t field, WireType type) { put_bare_varint(field << 3 | type); }

  std::string buffer_;  // filled at its end
  std::size_t begin_ = 0;
};

}  // namespace extprocd::wire
