#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "test/bench/load/reply.h"

namespace extprocd::bench {

/// What goes over a stream.
enum class Profile : uint8_t {
  kHeaders,   ///< request and response headers
  kBuffered,  ///< the same with a BUFFERED body in one message, both ways
  kDuplex     ///< the same with a FULL_DUPLEX_STREAMED body in pieces, both ways
};

struct ScriptOptions {
  Profile profile = Profile::kHeaders;
  std::size_t body = 16u << 10;   ///< bytes, each way
  std::size_t chunk = 16u << 10;  ///< bytes of a piece in kDuplex
  std::string instructions;       ///< value of the request header `instructions`; empty for none
};

/// Replies that must come.
struct Answer {
  ReplyKind kind = ReplyKind::kNone;
  /// Not one empty reply but streamed_responses that give the whole body back, the last with end_of_stream.
  bool is_echo = false;
};

/// Messages that are sent together, and what must have come before the next step.
struct Step {
  std::string_view name;
  std::string frames;  ///< with gRPC's prefixes
  std::vector<Answer> answers;
};

/// The messages of one stream as Envoy sends them, made once for all streams.
struct Script {
  std::vector<Step> steps;
  std::string body;  ///< what an echo must give back

  explicit Script(const ScriptOptions& options);
};

}  // namespace extprocd::bench
