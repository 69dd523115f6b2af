#pragma once

#include <cstdint>
#include <string_view>

namespace extprocd::engine {

/// Part of a message in one direction.
enum class Part : uint8_t { kHeaders, kBody, kTrailers };

/// The order of the messages of one direction: headers, then body pieces, then trailers, any of which the
/// data plane may be configured to leave out. Requests and responses are independent of each other.
class Direction {
 public:
  /// Takes a message into account. Returns what is wrong with its coming now; empty if nothing is.
  /// `end_of_stream`: no body follows the headers, or this is the last body piece and no trailers follow.
  std::string_view accept(Part part, bool end_of_stream) {
    if (state_ == State::kEnded) return "a message after the end of its direction";
    if (part == Part::kHeaders && state_ != State::kIdle)
      return "headers after other messages of their direction";
    state_ = end_of_stream || part == Part::kTrailers ? State::kEnded : State::kOpen;
    return {};
  }

  /// From here on the data plane sends nothing of this direction that wants an answer: its body was replaced.
  void close() { closed_ = true; }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  enum class State : uint8_t { kIdle, kOpen, kEnded };
  State state_ = State::kIdle;
  bool closed_ = false;
};

}  // namespace extprocd::engine
