#pragma once

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

/// What a name is made of.
struct NameScan {
  bool is_ascii;        ///< no byte from 0x80 on
  bool has_upper_case;  ///< some letter from A to Z
};

/// Looks at every byte once, eight at a time.
inline NameScan scan_name(std::string_view name) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHighBits = kOnes * 0x80;
  uint64_t high = 0;
  uint64_t upper = 0;
  const auto scan = [&](uint64_t word) {
    high |= word;
    // In each byte: does it come to 0x80 if so much is added that 'A' does, but not what comes after 'Z'?
    const uint64_t low_bits = word & ~kHighBits;
    const uint64_t from_a = low_bits + kOnes * (0x80 - 'A');
    const uint64_t behind_z = low_bits + kOnes * (0x7F - 'Z');
    upper |= from_a & ~behind_z & ~word;
  };
  const auto bytes_at = [&name]<typename Word>(std::size_t at, Word word) -> uint64_t {
    std::memcpy(&word, name.data() + at, sizeof(word));
    return word;
  };
  // The last word overlaps the one before, so that none is cut short.
  const std::size_t size = name.size();
  if (size >= 8) {
    for (std::size_t at = 0; at < size - 8; at += 8) scan(bytes_at(at, uint64_t{}));
    scan(bytes_at(size - 8, uint64_t{}));
  } else if (size >= 4) {
    scan(bytes_at(0, uint32_t{}) | bytes_at(size - 4, uint32_t{}) << 32);
  } else if (size > 0) {
    scan(bytes_at(0, uint8_t{}) | bytes_at(size / 2, uint8_t{}) << 8 | bytes_at(size - 1, uint8_t{}) << 16);
  }
  return {(high & kHighBits) == 0, (upper & kHighBits) != 0};
}

/// A copy in lower case.
std::string_view lower_case_copy(std::string_view name, Arena& arena);

/// The name in lower case: `name` itself where it is so already, else a copy in `arena`.
inline std::string_view lower_case(std::string_view name, Arena& arena) {
  return scan_name(name).has_upper_case ? lower_case_copy(name, arena) : name;
}

/// The three digits of ":status" as a number; 0 if it is not one of 100 to 599.
uint32_t parse_status(std::string_view value);

}  // namespace extprocd::http
