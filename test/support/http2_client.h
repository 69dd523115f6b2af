#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/transport/listen.h"
#include "test/support/http2_frames.h"
#include "test/support/http2_reader.h"

namespace extprocd::test {

/// A client that sends what it is told to, byte by byte if need be, and keeps what comes back. One thread.
class Http2Client {
 public:
  /// Lets the server work for a moment. Where it has threads of its own: waits for it to say something.
  using Turn = std::function<void()>;

  /// `turn` empty: the server is in other threads.
  explicit Http2Client(transport::Descriptor socket, Turn turn = {});
  /// Connected to host:port of this machine. Throws std::runtime_error.
  static transport::Descriptor connect(const std::string& address);

  /// The preface and SETTINGS, with windows so large that they do not matter.
  void greet(const std::vector<std::pair<uint16_t, uint32_t>>& settings = {
                 {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30}});
  /// All of it, in turns with the server if the socket is full; false: the server has closed.
  bool send(std::string_view bytes);
  /// HEADERS; the stream's number.
  int32_t open(const Fields& fields, bool end_stream = false);
  /// Reads what there is, without waiting.
  void read();
  /// Takes turns until it holds; false: it did not, for very long, or the server has closed.
  bool wait(const std::function<bool()>& holds);
  bool wait_for_end(int32_t stream) {
    return wait([&] { return reader.streams[stream].is_over(); });
  }
  /// Waits until the server has seen all that was sent before: it answers a PING.
  bool settle();
  /// Waits until the server closes.
  bool wait_for_close() {
    wait([&] { return closed(); });
    return closed();
  }
  [[nodiscard]] bool closed() const { return closed_; }
  /// The server sees the end of what is sent.
  void end_writing();
  void close() { socket_ = transport::Descriptor(-1); }

  /// Does it answer SETTINGS and PING by itself?
  bool answers = true;
  /// Does it read?
  bool reads = true;
  Http2Reader reader;
  HeaderWriter writer;

 private:
  transport::Descriptor socket_;
  const Turn turn_;
  int32_t next_stream_ = 1;
  int settled_ = 0;
  bool closed_ = false;
};

}  // namespace extprocd::test
