#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/wire/reply_writer.h"
#include "core/wire/request_view.h"
#include "test/bench/session.h"

namespace extprocd::bench {

/// What the bare server does wrong on purpose, so that a client can show that it notices.
enum class Fault : uint8_t {
  kNone,
  kKind,        ///< answers with the reply of the other direction
  kExtra,       ///< answers response headers twice
  kEcho,        ///< changes the bytes that it should echo
  kShort,       ///< leaves the last byte of an echo out
  kStreamed,    ///< answers with a streamed_response whatever the mode
  kUnstreamed,  ///< never does
  kSilence,     ///< answers nothing
  kStatus,      ///< ends streams with INTERNAL
  kNoStatus,    ///< ends streams without a status
  kReset        ///< resets the stream instead of answering
};

/// The one legal reply to each message, made in advance as far as it can be: nothing is changed but for one
/// header that may be set on requests.
class Answers {
 public:
  /// `set_header`: "name:value" for the replies to request headers; empty for none.
  Answers(std::string_view set_header, Fault fault);

  [[nodiscard]] Fault fault() const { return fault_; }
  /// Answers a message on its stream, whose modes are given; nothing, if it has no kind.
  void answer(const wire::RequestView& request, const wire::ProtocolConfig& modes, Stream& stream);

 private:
  static constexpr std::size_t kKinds = 7;

  [[nodiscard]] bool is_echoed(wire::BodyMode mode) const;
  void echo(const wire::RequestView& request, wire::Direction direction, Stream& stream);

  Fault fault_;
  std::array<std::string, kKinds> canned_;  // frames by MessageKind
  wire::ReplyWriter writer_;
};

}  // namespace extprocd::bench
