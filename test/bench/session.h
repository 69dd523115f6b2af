#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include <nghttp2/nghttp2.h>

#include "core/wire/pieces.h"
#include "test/bench/poller.h"
#include "test/bench/socket.h"

namespace extprocd::bench {

class Session;

/// Appends a message with the prefix that gRPC puts before it.
void append_framed(std::string& to, const wire::Pieces& message);

/// A header for Session::open(), which borrows both views.
nghttp2_nv http2_header(std::string_view name, std::string_view value);

/// One gRPC call of a session, on the client's or the server's side. Whoever derives from it is told what comes.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// Messages that append_framed() wrote. They go out with the session's next flush.
  void send(std::string_view frames);
  /// The same without a copy: they stay as they are until the stream is over.
  void send_borrowed(std::string_view frames);
  /// One message without its prefix yet.
  void send_message(const wire::Pieces& message);
  /// The client's half-close: an empty DATA frame with END_STREAM.
  void half_close();
  /// The client's half-close with an RST_STREAM right behind it, as Envoy ends its streams.
  void half_close_and_reset();
  /// The server's end: trailers with this grpc-status.
  void end_with(std::string_view grpc_status);
  /// RST_STREAM at once.
  void reset();

 private:
  friend class Session;

  /// A header or trailer that the peer sent.
  virtual void on_header(std::string_view /*name*/, std::string_view /*value*/) {}
  /// A whole message; the view is valid during the call.
  virtual void on_message(std::string_view message) = 0;
  /// What came is no gRPC; the stream has been reset.
  virtual void on_malformed(std::string_view /*what*/) {}
  /// The peer has said all.
  virtual void on_half_close() {}
  /// The last call. `lost`: why the connection broke; empty if this stream alone is over.
  virtual void on_close(uint32_t /*http2_error*/, std::string_view /*lost*/) {}

  /// Moves what waits to be sent, or as much as there is room for; how many bytes.
  std::size_t take(uint8_t* to, std::size_t room);
  [[nodiscard]] bool all_is_sent() const { return borrowed_.empty() && outgoing_.empty(); }
  void receive(std::string_view bytes);
  void end_of_input();
  void malformed(std::string_view what);
  void resume();

  nghttp2_session* http2_ = nullptr;
  int32_t id_ = 0;
  std::string incoming_;       // a message that is not whole yet
  std::string_view borrowed_;  // goes out before outgoing_
  std::string outgoing_;
  std::size_t sent_ = 0;  // of outgoing_
  std::string trailer_;   // the server's grpc-status
  bool ending_ = false;
  bool reset_behind_end_ = false;
  bool deferred_ = false;  // nghttp2 waits for more to send
};

/// One HTTP/2 connection without TLS, with the windows that Envoy gives. One thread.
class Session : public Watcher {
 public:
  /// Makes the stream for a call that a client has begun.
  using Accept = std::function<std::unique_ptr<Stream>()>;

  /// A client's, or with `accept` a server's. The settings go out with the first flush.
  Session(Descriptor socket, Poller& poller, Accept accept = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() override;

  /// Begins a call, for a client.
  void open(std::unique_ptr<Stream> stream, std::span<const nghttp2_nv> headers);
  /// Sends what is waiting. Needed after what was done outside of a stream's callbacks.
  void flush();
  /// Reads, tells the streams, and flushes.
  void on_ready() override;

  /// Why the connection is of no use any more; empty while it is.
  [[nodiscard]] const std::string& lost() const { return lost_; }
  [[nodiscard]] std::size_t open_streams() const { return streams_.size(); }
  /// How many streams the peer allows at a time, once it has said.
  [[nodiscard]] std::optional<uint32_t> peer_max_streams() const;

 private:
  struct Callbacks;

  void lose(std::string why);
  Stream& adopt(std::unique_ptr<Stream> stream, int32_t id);

  Descriptor socket_;
  Poller& poller_;
  Accept accept_;
  nghttp2_session* http2_ = nullptr;
  std::unordered_map<int32_t, std::unique_ptr<Stream>> streams_;
  std::string outgoing_;
  std::size_t sent_ = 0;  // of outgoing_
  bool blocked_ = false;  // the socket takes no more for now
  bool has_peer_settings_ = false;
  std::string last_error_;  // as nghttp2 tells it
  std::string lost_;
};

}  // namespace extprocd::bench
