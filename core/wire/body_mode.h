#pragma once

#include <cstdint>
#include <string_view>

namespace extprocd::wire {

/// ProcessingMode.BodySendMode, with its numbers.
enum class BodyMode : uint8_t {
  kNone = 0,
  kStreamed = 1,
  kBuffered = 2,
  kBufferedPartial = 3,
  kFullDuplexStreamed = 4,
  kGrpc = 5
};

/// As in processing_mode: "BUFFERED_PARTIAL".
constexpr std::string_view to_string(BodyMode mode) {
  switch (mode) {
    case BodyMode::kNone:
      return "NONE";
    case BodyMode::kStreamed:
      return "STREAMED";
    case BodyMode::kBuffered:
      return "BUFFERED";
    case BodyMode::kBufferedPartial:
      return "BUFFERED_PARTIAL";
    case BodyMode::kFullDuplexStreamed:
      return "FULL_DUPLEX_STREAMED";
    case BodyMode::kGrpc:
      return "GRPC";
  }
  return "?";
}

/// Is a body answered with streamed_response, in any number of pieces?
constexpr bool is_duplex(BodyMode mode) {
  return mode == BodyMode::kFullDuplexStreamed || mode == BodyMode::kGrpc;
}

}  // namespace extprocd::wire
