#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/wire/pieces.h"
#include "core/wire/reply_writer.h"
#include "core/wire/request_view.h"

namespace extprocd::bench {

/// What a bare server does wrong on purpose, so that a client can show that it notices.
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

/// Who takes replies, without gRPC's prefix. They are valid during the call; the body of an echo is where it came.
class ReplySink {
 public:
  virtual void send_reply(const wire::Pieces& message) = 0;

 protected:
  ~ReplySink() = default;
};

/// The one legal reply to each message, made in advance as far as it can be: nothing is changed but for one
/// header that may be set on requests. One thread.
class Answers {
 public:
  /// `set_header`: "name:value" for the replies to request headers; empty for none.
  Answers(std::string_view set_header, Fault fault);

  [[nodiscard]] Fault fault() const { return fault_; }
  /// Answers a message of a stream with these modes; nothing, if it has no kind.
  void answer(const wire::RequestView& request, const wire::ProtocolConfig& modes, ReplySink& sink);

 private:
  static constexpr std::size_t kKinds = 7;

  [[nodiscard]] bool is_echoed(wire::BodyMode mode) const;
  void echo(const wire::RequestView& request, wire::Direction direction, ReplySink& sink);

  Fault fault_;
  std::array<std::string, kKinds> canned_;  // by MessageKind
  wire::ReplyWriter writer_;
};

}  // namespace extprocd::bench
