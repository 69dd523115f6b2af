#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace extprocd::model {

/// What the data plane makes of a reply.
enum class Verdict : std::uint8_t {
  kAccepted,
  kSpurious,            ///< wrong kind, out of order, unknown, or in the wrong mode
  kHeaderMutation,      ///< the header mutation is refused as a whole
  kContentLength,       ///< a BUFFERED body whose size is not its content-length
  kAfterImmediate,      ///< a reply behind an immediate response
  kAfterEnd,            ///< a reply on a stream that is over
  kUnwanted,            ///< a reply in observability mode
  kEndOfStream,         ///< full duplex: ended by a body reply although trailers are to be answered
  kReplaceUnsupported,  ///< CONTINUE_AND_REPLACE, or a plain body, where only streamed_response may come
  kFlowControl,         ///< flow_control_init not answered first, a window passed, or numbers that overflow
  kReplyLost,           ///< a reply beside override_message_timeout, of which only the timeout is read
};

constexpr std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccepted:
      return "accepted";
    case Verdict::kSpurious:
      return "spurious";
    case Verdict::kHeaderMutation:
      return "header mutation refused";
    case Verdict::kContentLength:
      return "content-length mismatch";
    case Verdict::kAfterImmediate:
      return "after an immediate response";
    case Verdict::kAfterEnd:
      return "after the end";
    case Verdict::kUnwanted:
      return "unwanted in observability mode";
    case Verdict::kEndOfStream:
      return "wrong end of stream";
    case Verdict::kReplaceUnsupported:
      return "replacement not supported here";
    case Verdict::kFlowControl:
      return "against flow control";
    case Verdict::kReplyLost:
      return "reply lost";
  }
  return "?";
}

struct Judgement {
  Verdict verdict = Verdict::kAccepted;
  std::string why;                   ///< for verdicts other than kAccepted
  std::vector<std::string> ignored;  ///< parts of an accepted reply that have no effect

  [[nodiscard]] bool accepted() const { return verdict == Verdict::kAccepted; }
  /// Accepted, and every part of it had its effect.
  [[nodiscard]] bool wholly_accepted() const { return accepted() && ignored.empty(); }
  [[nodiscard]] std::string describe() const {
    std::string text(to_string(verdict));
    if (!why.empty()) text += ": " + why;
    for (const auto& part : ignored) text += "; ignored: " + part;
    return text;
  }
};

inline Judgement refused(Verdict verdict, std::string why) { return {verdict, std::move(why), {}}; }

}  // namespace extprocd::model
