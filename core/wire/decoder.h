#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/http/header_syntax.h"
#include "core/http/utf8.h"

namespace extprocd::wire {

/// Tags as a switch wants them: a field that comes with another wire type falls into its default, which is
/// what protobuf asks for.
constexpr uint32_t varint_tag(uint32_t field) { return field << 3; }
constexpr uint32_t bytes_tag(uint32_t field) { return field << 3 | 2; }

/// Walks over the fields of a protobuf message as protobuf's C++ parser does, oddities included: a tag has at
/// most five bytes, of which the surplus bits are dropped, a length at most five bytes and less than 2 GiB,
/// any other number at most ten. All reading functions return false on an error, which is noted once for the
/// whole message.
class Decoder {
 public:
  /// What is wrong, and where.
  struct Error {
    const char* what = nullptr;  ///< static text, null if nothing is wrong
    std::size_t offset = 0;      ///< in the whole message
  };

  /// `bytes` and `error` outlive the decoder.
  Decoder(std::string_view bytes, Error& error)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()), begin_(at_), error_(&error) {}

  /// Calls `bool read_field(Decoder&)`, which reads or skips the current field, at each field.
  template <typename ReadField>
  [[nodiscard]] bool read_fields(ReadField&& read_field) {
    while (next()) {
      if (!read_field(*this)) return false;
    }
    return ok();
  }

  /// Of the current field.
  [[nodiscard]] uint32_t tag() const { return tag_; }

  // The value of the current field: read it once, by its wire type.
  [[nodiscard]] bool read(uint64_t& value) {
    if (at_ == end_ || byte(0) >= 0x80) return read_long_number(value);
    value = byte(0);
    ++at_;
    return true;
  }
  [[nodiscard]] bool read(int64_t& value);
  /// As protobuf narrows an enum: the low 32 bits.
  [[nodiscard]] bool read(int32_t& value);
  [[nodiscard]] bool read(bool& value);
  [[nodiscard]] bool read(std::string_view& value) {
    // Names and values of headers mostly are shorter than 128 bytes; their lengths have one byte then.
    if (at_ == end_ || byte(0) >= 0x80) return read_long_bytes(value);
    const std::size_t length = byte(0);
    if (length > static_cast<std::size_t>(end_ - at_ - 1)) return read_long_bytes(value);
    value = std::string_view(at_ + 1, length);
    at_ += 1 + length;
    return true;
  }
  /// A proto3 `string` that is the name of a header. Sets `has_upper_case` if it has a letter from A to Z.
  [[nodiscard]] bool read_name(std::string_view& value, bool& has_upper_case) {
    if (!read(value)) return false;
    const http::NameScan scan = http::scan_name(value);
    if (scan.has_upper_case) has_upper_case = true;
    return scan.is_ascii || http::is_utf8(value) ||
           fail("the name of a header that is not UTF-8", at_ - value.size());
  }
  /// A proto3 `string`, which must be UTF-8; `what` is the error if it is not.
  [[nodiscard]] bool read_utf8(std::string_view& value, const char* what) {
    if (!read(value)) return false;
    return http::is_ascii(value) || http::is_utf8(value) || fail(what, at_ - value.size());
  }
  /// A submessage: calls `bool read_field(Decoder&)` at each of its fields.
  template <typename ReadField>
  [[nodiscard]] bool read_message(ReadField&& read_field) {
    std::string_view bytes;
    return read_message(bytes, read_field);
  }
  /// The same; `bytes` are those of the submessage.
  template <typename ReadField>
  [[nodiscard]] bool read_message(std::string_view& bytes, ReadField&& read_field) {
    if (!read(bytes)) return false;
    Decoder contents(*this, bytes);
    return contents.read_fields(read_field);
  }
  /// Passes over a field of any wire type.
  [[nodiscard]] bool skip() { return skip(tag_, depth_); }

 private:
  enum WireType : uint8_t { kVarint, kFixed64, kBytes, kStartGroup, kEndGroup, kFixed32 };
  static constexpr int kMaxDepth = 100;  // io::CodedInputStream::GetDefaultRecursionLimit()

  Decoder(const Decoder& outer, std::string_view bytes)
      : at_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        begin_(outer.begin_),
        error_(outer.error_),
        depth_(outer.depth_ - 1) {}

  [[nodiscard]] uint8_t byte(std::size_t at) const { return static_cast<uint8_t>(at_[at]); }
  /// Goes to the next field. False at the end and on an error.
  bool next() {
    if (at_ == end_) return false;
    // Fields up to 15 have tags of one byte; the rest, and what is wrong, takes the long way.
    if (const uint8_t tag = byte(0); tag < 0x80 && tag >> 3 != 0 && (tag & 7) != kEndGroup) {
      tag_ = tag;
      ++at_;
      return true;
    }
    return next_long_tag();
  }
  bool next_long_tag();
  bool read_long_number(uint64_t& value);
  bool read_long_bytes(std::string_view& value);
  [[nodiscard]] bool ok() const { return error_->what == nullptr; }
  bool fail(const char* what, const char* at);
  bool read_tag(uint32_t& tag);
  bool skip(uint32_t tag, int depth);
  bool skip_group(uint32_t start, int depth);
  bool skip_fixed(std::ptrdiff_t size);

  const char* at_;
  const char* end_;
  const char* begin_;  // of the whole message
  Error* error_;
  uint32_t tag_ = 0;
  int depth_ = kMaxDepth;  // how much deeper submessages and groups may go
};

}  // namespace extprocd::wire
