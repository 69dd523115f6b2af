#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// What gRPC lays on top of HTTP/2:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

namespace extprocd::transport::h2 {

/// Before each message: one byte of flags, four of length.
inline constexpr std::size_t kMessagePrefix = 5;

/// The prefix of a message. `bytes` has at least kMessagePrefix bytes.
struct Prefix {
  uint8_t flags;    ///< 1: compressed
  uint32_t length;  ///< of the message, in bytes

  static Prefix read(std::string_view bytes);
  /// Appends the prefix of an uncompressed message.
  static void append(std::string& to, std::size_t length);
};

/// The value of grpc-timeout: at most eight digits and a unit (H, M, S, m, u, n). Nothing if it is not one.
std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text);

/// What is sent of a status' text: not more than 2 KiB, cut between letters of UTF-8. Clients of gRPC refuse header
/// lists over 8 KiB, and a list over 64 KiB would not go out at all.
std::string_view shortened(std::string_view text);

/// A text as the value of grpc-message: what is not printable ASCII, and '%', as %XX.
std::string percent_encoded(std::string_view text);

/// The bytes of a -bin metadata value: base64, with padding or without. Nothing if it is not that.
std::optional<std::string> decode_binary(std::string_view value);

/// The contents of one gzip member. INVALID_ARGUMENT: not gzip, cut short, or more behind it; RESOURCE_EXHAUSTED: more than
/// `max_size` bytes; no more than that is ever made of it.
absl::StatusOr<std::string> gunzip(std::string_view bytes, std::size_t max_size);

}  // namespace extprocd::transport::h2
