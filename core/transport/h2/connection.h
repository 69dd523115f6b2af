#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <nghttp2/nghttp2.h>

#include "core/engine/seam.h"
#include "core/telemetry/metrics.h"
#include "core/transport/h2/call.h"
#include "core/transport/h2/channel.h"
#include "core/transport/h2/loop.h"
#include "core/transport/h2/request_head.h"
#include "core/transport/h2/shared.h"

namespace extprocd::transport::h2 {

/// One HTTP/2 connection and its calls. Lives until it is closed and nothing waits for its socket any more. All of it
/// on the loop's thread.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(Loop& loop, Shared& shared, std::unique_ptr<Channel> channel, std::string peer);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  /// Now and then: looks at the timeouts.
  void on_tick(Clock::time_point now);
  /// GOAWAY: no new streams; closes when the open ones have ended.
  void drain();
  /// Cancels all streams because the server stops, and closes.
  void cut_off();

  // For its calls.

  [[nodiscard]] nghttp2_session* http2() const { return http2_; }
  [[nodiscard]] Loop& loop() const { return loop_; }
  [[nodiscard]] Shared& shared() const { return shared_; }
  /// Sends what waits. Not from within nghttp2's callbacks: there it is done when they are over.
  void flush();
  /// A call can take input again; it is asked to, by its HTTP/2 stream, with the next flush. Once each time.
  void go_on_later(int32_t stream) { resumed_.push_back(stream); }
  /// Something came of what was received.
  void made_progress() { bytes_of_nothing_ = 0; }
  /// Something may come of these bytes that were received: a call keeps them for later.
  void keeps(std::size_t size) { bytes_of_nothing_ -= std::min<uint64_t>(bytes_of_nothing_, size); }

 private:
  struct Callbacks;

  /// Frames of one kind in this second.
  struct Rate {
    telemetry::Limit limit;
    uint32_t count = 0;
  };

  void await_readable();
  void await_writable();
  void on_readable();
  void on_writable();
  void take_in(std::size_t size);
  void discard_input();
  bool write_out();
  bool gather();
  bool resume_calls();
  void end_if_done();
  void close();
  void drop_calls();
  [[nodiscard]] Call* call(int32_t stream) const;

  void open_call(int32_t stream);
  void admit(Call& call);
  [[nodiscard]] int on_frame(const nghttp2_frame& frame);
  [[nodiscard]] bool is_within(Rate& rate, uint32_t most);
  void on_fault(int error);
  void go_away(uint32_t http2_error);

  void finish_drain();
  void look_at_age(Clock::time_point now);
  void look_at_silence(Clock::time_point now);

  Loop& loop_;
  Shared& shared_;
  std::unique_ptr<Channel> channel_;  // null: closed
  boost::asio::posix::stream_descriptor socket_;
  const std::string peer_;
  nghttp2_session* http2_ = nullptr;
  boost::intrusive::list<Call> calls_;
  RequestHead head_;
  std::vector<int32_t> resumed_;

  std::string unsent_;  // what the socket did not take
  bool awaits_readable_ = false;
  bool awaits_writable_ = false;
  bool read_needs_write_ = false;  // TLS
  bool established_ = false;       // the peer has said its settings
  bool draining_ = false;
  bool drain_is_known_ = false;  // the peer has read the first GOAWAY
  bool drain_is_final_ = false;
  bool lingering_ = false;  // all is said; the peer may still have to read it

  uint64_t bytes_of_nothing_ = 0;  // received since something last came of them
  const uint64_t max_bytes_of_nothing_;
  Rate resets_{telemetry::Limit::kResetFlood};
  Rate settings_{telemetry::Limit::kSettingsFlood};
  Rate pings_{telemetry::Limit::kPingFlood};
  Rate empty_frames_{telemetry::Limit::kEmptyFramesFlood};

  // As exact as ticks are.
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point second_ = begun_;  // that the rates are of
  Clock::time_point heard_ = begun_;
  Clock::time_point busy_ = begun_;  // had a stream
  Clock::time_point drain_begun_;
  Clock::time_point ping_sent_;
  const Clock::duration max_age_;  // 0: none
  bool heard_since_tick_ = false;
  bool busy_since_tick_ = false;
  bool ping_is_out_ = false;
};

}  // namespace extprocd::transport::h2
