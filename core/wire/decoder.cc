#include "core/wire/decoder.h"

namespace extprocd::wire {
namespace {

constexpr int kMaxTagBytes = 5;
constexpr int kMaxLengthBytes = 5;
constexpr int kMaxVarintBytes = 10;
constexpr uint64_t kMaxLength = 0x7FFFFFFF - 16;  // protobuf keeps 16 bytes for itself

/// Reads a varint of at most `max_bytes`. Null if it is longer or the bytes end before it does.
const char* read_varint(const char* at, const char* end, int max_bytes, uint64_t& value) {
  uint64_t result = 0;
  for (int shift = 0; shift < 7 * max_bytes && at != end; shift += 7) {
    const auto byte = static_cast<uint8_t>(*at++);
    result |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) {
      value = result;
      return at;
    }
  }
  return nullptr;
}

}  // namespace

bool Decoder::fail(const char* what, const char* at) {
  if (ok()) *error_ = {what, static_cast<std::size_t>(at - begin_)};
  return false;
}

bool Decoder::read_tag(uint32_t& tag) {
  const char* const start = at_;
  uint64_t wide = 0;
  const char* const after = read_varint(at_, end_, kMaxTagBytes, wide);
  if (after == nullptr) return fail("a tag that is cut off or too long", start);
  tag = static_cast<uint32_t>(wide);
  if (tag >> 3 == 0) return fail("field number 0", start);
  at_ = after;
  return true;
}

bool Decoder::next_long_tag() {
  const char* const start = at_;
  if (!read_tag(tag_)) return false;
  if ((tag_ & 7) == kEndGroup) return fail("the end of a group that did not begin", start);
  return true;
}

bool Decoder::read_long_number(uint64_t& value) {
  const char* const after = read_varint(at_, end_, kMaxVarintBytes, value);
  if (after == nullptr) return fail("a number that is cut off or too long", at_);
  at_ = after;
  return true;
}

bool Decoder::read(int64_t& value) {
  uint64_t raw = 0;
  if (!read(raw)) return false;
  value = static_cast<int64_t>(raw);
  return true;
}

bool Decoder::read(int32_t& value) {
  uint64_t raw = 0;
  if (!read(raw)) return false;
  value = static_cast<int32_t>(static_cast<uint32_t>(raw));
  return true;
}

bool Decoder::read(bool& value) {
  uint64_t raw = 0;
  if (!read(raw)) return false;
  value = raw != 0;
  return true;
}

bool Decoder::read_long_bytes(std::string_view& value) {
  uint64_t length = 0;
  const char* const after = read_varint(at_, end_, kMaxLengthBytes, length);
  if (after == nullptr) return fail("a length that is cut off or too long", at_);
  if (length > kMaxLength || length > static_cast<uint64_t>(end_ - after)) {
    return fail("a length beyond the end", at_);
  }
  value = std::string_view(after, static_cast<std::size_t>(length));
  at_ = after + length;
  return true;
}

bool Decoder::skip(uint32_t tag, int depth) {
  switch (tag & 7) {
    case kVarint: {
      uint64_t ignored = 0;
      return read(ignored);
    }
    case kFixed64:
      return skip_fixed(8);
    case kBytes: {
      std::string_view ignored;
      return read(ignored);
    }
    case kStartGroup:
      return skip_group(tag, depth);
    case kFixed32:
      return skip_fixed(4);
    default:
      return fail("an unknown wire type", at_);
  }
}

bool Decoder::skip_group(uint32_t start, int depth) {
  if (depth == 0) return fail("groups nested too deep", at_);
  while (at_ != end_) {
    uint32_t tag = 0;
    if (!read_tag(tag)) return false;
    if ((tag & 7) == kEndGroup) return tag == start + 1 || fail("the end of another group", at_);
    if (!skip(tag, depth - 1)) return false;
  }
  return fail("a group without an end", at_);
}

bool Decoder::skip_fixed(std::ptrdiff_t size) {
  if (end_ - at_ < size) return fail("a number that is cut off", at_);
  at_ += size;
  return true;
}

}  // namespace extprocd::wire
