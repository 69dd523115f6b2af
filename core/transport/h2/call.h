#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list_hook.hpp>
#include <sys/types.h>

#include "core/engine/seam.h"

namespace extprocd::transport::h2 {

class Connection;

/// One gRPC call: an HTTP/2 stream of a connection on one side, a ServerStream on the other. Made when the
/// header list is in, destroyed when nghttp2 has closed the stream. On the loop's thread.
class Call final : public engine::Sink, public boost::intrusive::list_base_hook<> {
 public:
  /// How the peer opened it.
  struct Opening {
    engine::StreamFacts facts;
    bool gzip = false;  ///< compressed messages are gzip
    std::optional<std::chrono::nanoseconds> timeout = {};
  };

  Call(Connection& connection, int32_t stream) : connection_(connection), id_(stream) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();

  void open(engine::StreamFactory& factory, const Opening& opening);
  /// Ends it with a status before it was opened.
  void refuse(const absl::Status& status) { finish(status); }
  /// Ends it with an HTTP status as well, where gRPC has one for it.
  void refuse_as_http(std::string_view http_status, const absl::Status& status);
  /// Ends it as what is no gRPC call at all: an HTTP status, and a reason as text.
  void refuse_with_text(std::string_view http_status, std::string_view text);

  /// The peer's bytes, in any pieces.
  void receive(std::string_view bytes);
  /// The peer will send no more.
  void half_closed();
  /// The stream, or the connection, is gone.
  void lost(engine::Cancel by);
  /// The server stops: cancels the stream, and tells the peer.
  void shut_down();
  /// Takes in what had to wait, if nothing pauses it any more.
  void go_on();
  [[nodiscard]] int32_t id() const { return id_; }
  /// Has a whole message come?
  [[nodiscard]] bool has_heard() const { return heard_; }
  /// Has it got its status, or been lost?
  [[nodiscard]] bool is_over() const { return over_; }

  // How nghttp2 gets the replies.

  /// How many bytes are in the next DATA frame, of at most `most`; flags as for its read callback. Or
  /// NGHTTP2_ERR_DEFERRED.
  ssize_t next_frame(std::size_t most, uint32_t& flags);
  /// Moves so many bytes of replies behind `to`.
  void take(std::string& to, std::size_t size);
  /// The peer has been told that the call is over.
  void on_end_sent();

  void send(const wire::Pieces& message) override;
  void finish(const absl::Status& status) override;
  std::shared_ptr<engine::Executor> executor() override;
  void pause_reading() override;
  void resume_reading() override;
  void set_timer(std::optional<engine::Clock::time_point> time) override;

 private:
  class Remote;

  /// Input that waits.
  struct Held {
    std::string bytes;
    std::size_t at = 0;  ///< what is before it has been taken in
  };

  std::size_t take_in(std::string_view bytes);
  void hold(std::string_view bytes);
  [[nodiscard]] bool is_paused() const { return clogged_ || stopped_; }
  void go_on_later();
  void timer_fired();
  void take_whole_message(uint8_t flags, std::string_view message);
  void begin_partial(std::string_view bytes);
  std::string_view continue_partial(std::string_view bytes);
  [[nodiscard]] bool is_acceptable(uint32_t length);
  void inflate(std::string_view message);
  void hear(std::string_view message);
  void fail(const absl::Status& status);
  void over();
  void end(const absl::Status& status);
  void respond();
  void resume();
  void answer_without_replies(std::string_view http_status, const absl::Status& status);
  void submit_trailers(const absl::Status& status);
  [[nodiscard]] std::size_t unsent() const { return outgoing_.size() - sent_; }

  Connection& connection_;
  const int32_t id_;
  bool gzip_ = false;
  bool heard_ = false;
  bool over_ = false;         // the stream has got its last call
  bool half_closed_ = false;  // by the peer
  bool end_is_told_ = false;  // to the stream
  bool responded_ = false;    // the response's header list is submitted
  bool deferred_ = false;     // nghttp2 waits to be told of more
  bool clogged_ = false;      // too many replies are unsent: input waits
  bool stopped_ = false;      // the stream wants nothing now: input waits
  bool goes_on_ = false;      // go_on() is to come
  bool is_text_ = false;      // what goes out is no gRPC: nothing comes behind outgoing_
  std::size_t sent_ = 0;      // of outgoing_
  std::string outgoing_;      // framed replies
  std::string partial_;       // a message that is not whole, with its prefix
  std::unique_ptr<Held> held_;
  std::unique_ptr<engine::ServerStream> stream_;
  std::unique_ptr<absl::Status> final_status_;  // to be sent behind outgoing_
  std::shared_ptr<Remote> remote_;
  std::unique_ptr<boost::asio::steady_timer> deadline_;
  std::unique_ptr<boost::asio::steady_timer> timer_;  // the stream's; null: it never set it
};

}  // namespace extprocd::transport::h2
