#include "core/wire/encoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace extprocd::wire {
namespace {

constexpr std::size_t kFirstSize = 256;
constexpr std::size_t kMaxVarint = 10;

}  // namespace

char* Encoder::extend(std::size_t size) {
  if (begin_ < size) {
    const std::size_t used = buffer_.size() - begin_;
    std::string larger(std::max({kFirstSize, 2 * buffer_.size(), used + size}), '\0');
    std::memcpy(larger.data() + larger.size() - used, buffer_.data() + begin_, used);
    begin_ = larger.size() - used;
    buffer_ = std::move(larger);
  }
  begin_ -= size;
  return buffer_.data() + begin_;
}

void Encoder::put_bare_varint(uint64_t value) {
  std::array<char, kMaxVarint> bytes{};
  std::size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<char>(value | 0x80);
  bytes[size++] = static_cast<char>(value);
  std::memcpy(extend(size), bytes.data(), size);
}

void Encoder::put_varint(uint32_t field, uint64_t value) {
  put_bare_varint(value);
  put_tag(field, kVarint);
}

void Encoder::put_double(uint32_t field, double value) {
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(extend(sizeof(value)), &value, sizeof(value));
  put_tag(field, kFixed64);
}

void Encoder::put_bytes(uint32_t field, std::string_view value) {
  char* const to = extend(value.size());
  if (!value.empty()) std::memcpy(to, value.data(), value.size());
  put_bare_varint(value.size());
  put_tag(field, kLengthDelimited);
}

void Encoder::put_fields(std::string_view encoded) {
  char* const to = extend(encoded.size());
  if (!encoded.empty()) std::memcpy(to, encoded.data(), encoded.size());
}

void Encoder::put_borrowed(uint32_t field, std::string_view value) {
  borrowed_ = value;
  behind_borrowed_ = buffer_.size() - begin_;
  put_bare_varint(value.size());
  put_tag(field, kLengthDelimited);
}

Pieces Encoder::pieces() const {
  if (borrowed_.empty()) return view();
  const std::string_view own = view();
  const std::size_t before = own.size() - behind_borrowed_;
  return {own.substr(0, before), borrowed_, own.substr(before)};
}

}  // namespace extprocd::wire
