#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace extprocd::http {

/// Are all bytes below 0x80? Then it is UTF-8 too.
[[nodiscard]] inline bool is_ascii(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  const auto word_at = [&text](std::size_t at) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof(word));
    return word;
  };
  uint64_t bits = 0;
  if (text.size() < sizeof(uint64_t)) {
    for (const char c : text) bits |= static_cast<uint8_t>(c);
    return bits < 0x80;
  }
  // The last word overlaps the one before.
  const std::size_t last = text.size() - sizeof(uint64_t);
  for (std::size_t at = 0; at < last; at += sizeof(uint64_t)) bits |= word_at(at);
  return ((bits | word_at(last)) & kHighBits) == 0;
}

/// Is this well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF)? Protobuf demands it
/// of `string` fields: Envoy fails the whole message otherwise.
[[nodiscard]] bool is_utf8(std::string_view text);

/// The text with every byte that belongs to no well-formed sequence replaced by U+FFFD.
[[nodiscard]] std::string repair_utf8(std::string_view text);

}  // namespace extprocd::http
