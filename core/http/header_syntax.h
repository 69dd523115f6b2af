#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/http/arena.h"

namespace extprocd::http {

/// A header name that every data plane takes: one or more token characters of RFC 9110, at most 16,384 bytes,
/// or a pseudo-header of HTTP/2 (":path", ":status" …).
bool is_valid_name(std::string_view name);

/// A header value that every data plane takes: no control characters but horizontal tab, at most 16,384
/// bytes. Bytes from 0x80 on are allowed.
bool is_valid_value(std::string_view value);

/// Are the names the same without regard to ASCII case?
bool same_name(std::string_view a, std::string_view b);

/// Has the text a letter from A to Z?
inline bool has_upper_case(std::string_view text) {
  if (text.size() < sizeof(uint64_t)) {
    return std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  }
  const auto has_upper = [&text](std::size_t at) {
    constexpr uint64_t kOnes = 0x0101010101010101;
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof(word));
    // In each byte: does it come to 0x80 if so much is added that 'A' does, but not what comes after 'Z'?
    const uint64_t low_bits = word & kOnes * 0x7F;
    const uint64_t from_a = low_bits + kOnes * (0x80 - 'A');
    const uint64_t behind_z = low_bits + kOnes * (0x7F - 'Z');
    return (from_a & ~behind_z & ~word & kOnes * 0x80) != 0;
  };
  // The last word overlaps the one before.
  const std::size_t last = text.size() - sizeof(uint64_t);
  for (std::size_t at = 0; at < last; at += sizeof(uint64_t)) {
    if (has_upper(at)) return true;
  }
  return has_upper(last);
}

/// A copy in lower case.
std::string_view lower_case_copy(std::string_view name, Arena& arena);

/// The name in lower case: `name` itself where it is so already, else a copy in `arena`.
inline std::string_view lower_case(std::string_view name, Arena& arena) {
  return has_upper_case(name) ? lower_case_copy(name, arena) : name;
}

/// The three digits of ":status" as a number; 0 if it is not one of 100 to 599.
uint32_t parse_status(std::string_view value);

}  // namespace extprocd::http
