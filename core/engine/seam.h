#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

#include "core/engine/message.h"
#include "core/telemetry/cycle_clock.h"
#include "core/wire/pieces.h"

namespace extprocd::engine {

using Clock = std::chrono::steady_clock;

/// The way back onto a stream's thread.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Runs `work` on the stream's thread, between its other calls; never, if the stream is over by then. Any
  /// thread, also after the stream's end.
  virtual void post(std::function<void()> work) = 0;
};

/// Where a stream's output goes. Implemented by the transport, called only on the thread that is inside one
/// of the ServerStream's functions at that moment.
class Sink {
 public:
  /// Sends one gRPC message. Its pieces are copied, one behind the other, before the call returns.
  virtual void send(const wire::Pieces& message) = 0;

  /// Ends the stream with a status, after everything sent so far. Called at most once; no send() follows. The
  /// stream stays alive until the function that called this has returned, and gets no further calls after
  /// that.
  virtual void finish(const absl::Status& status) = 0;

  /// For who has to come back later: made when first asked for, also while the stream is being opened. Null
  /// where a transport has no threads.
  virtual std::shared_ptr<Executor> executor() { return nullptr; }

  /// Until resume_reading() the stream gets no message and no half-close: what comes meanwhile stays in the transport,
  /// whose flow control then holds the data plane back. Cancellation, timer and what was posted still come.
  virtual void pause_reading() {}
  /// What waited is handed over after the function that called this has returned.
  virtual void resume_reading() {}

  /// ServerStream::timer_fired is called once, at that time or soon after. Takes the place of the time that was set
  /// before; nothing: of none.
  virtual void set_timer(std::optional<Clock::time_point> /*time*/) {}
  /// The time that the timer goes by.
  [[nodiscard]] virtual Clock::time_point now() const { return telemetry::cycle_clock_now(); }

 protected:
  ~Sink() = default;
};

/// A name and a value of gRPC metadata.
using MetadataEntry = std::pair<std::string_view, std::string_view>;

/// What the transport knows of a stream when it opens. All views are valid only while it is being opened.
struct StreamFacts {
  std::string_view peer;                      ///< as gRPC writes it: "ipv4:127.0.0.1:4711", "unix:…"
  std::span<const MetadataEntry> metadata{};  ///< initial metadata, names in lower case
};

/// Who gave the stream up.
enum class Cancel : uint8_t {
  kPeer,      ///< RST_STREAM or connection lost: how Envoy ends nearly every stream
  kShutdown,  ///< this server's drain deadline passed
};

/// One gRPC stream seen from the server, without I/O. The transport calls it from one thread at a time and
/// destroys it after the stream is over: after finish() was delivered, or after cancelled().
class ServerStream {
 public:
  virtual ~ServerStream() = default;

  /// A whole message came, owned or borrowed for the time of the call.
  virtual void receive(Message message) = 0;
  /// The peer will send no more. The stream answers with Sink::finish, now or later.
  virtual void half_closed() = 0;
  /// The stream is gone; the sink must not be used again. Called at most once, and not after finish().
  virtual void cancelled(Cancel by) = 0;
  /// The time that Sink::set_timer was given has come. Not after finish() or cancelled().
  virtual void timer_fired() {}
};

/// Makes the streams of one service method. Thread-safe: called from all transport threads.
class StreamFactory {
 public:
  virtual ~StreamFactory() = default;
  /// `sink` outlives the stream.
  virtual std::unique_ptr<ServerStream> open(Sink& sink, const StreamFacts& facts) = 0;
};

}  // namespace extprocd::engine
