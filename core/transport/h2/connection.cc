#include "core/transport/h2/connection.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include <boost/asio/post.hpp>

#include "core/telemetry/log.h"
#include "core/transport/h2/grpc_protocol.h"

namespace extprocd::transport::h2 {
namespace {

using telemetry::Limit;

constexpr std::size_t kWriteAtOnce = 256 << 10;
constexpr uint32_t kStreamWindow = 1 << 20;
constexpr int32_t kConnectionWindow = 16 << 20;
/// Frames that may wait for a peer that does not read; then it is not read from either.
constexpr std::size_t kMaxQueuedFrames = 10'000;
/// Messages of the largest size that may be under way on one connection before the first is whole.
constexpr uint64_t kMessagesOfNothing = 4;
/// What a connection may always send of which nothing comes: PINGs and WINDOW_UPDATEs add up.
constexpr uint64_t kLeastOfNothing = 16 << 20;
/// Streams beyond server.limits.max_streams that calls other than Process may have: health must be answered
/// even when there is no room for more.
constexpr std::size_t kReservedOthers = 64;
/// How long a peer gets to answer the first GOAWAY, and to read what was said last.
constexpr std::chrono::seconds kFarewell{1};
constexpr std::array<uint8_t, 8> kDrainPing = {'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'};

std::string_view text(const uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

uint64_t bytes_of_nothing(const H2Options& options) {
  return std::max(kLeastOfNothing, kMessagesOfNothing * options.max_message_size);
}

/// The age at which a connection is told to go: a tenth more or less, so that not all go at once.
std::chrono::nanoseconds with_jitter(std::chrono::nanoseconds age) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  std::uniform_real_distribution<double> factor(0.9, 1.1);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(age * factor(random));
}

bool is_grpc(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!content_type.starts_with(kGrpc)) return false;
  return content_type.size() == kGrpc.size() || content_type[kGrpc.size()] == '+' ||
         content_type[kGrpc.size()] == ';';
}

}  // namespace

/// What nghttp2 calls, from within nghttp2_session_mem_recv and nghttp2_session_mem_send.
struct Connection::Callbacks {
  static Connection& self(void* connection) { return *static_cast<Connection*>(connection); }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    return callbacks;
  }
  static const nghttp2_session_callbacks* all() {
    static const nghttp2_session_callbacks* const callbacks = make();
    return callbacks;
  }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* connection) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self(connection).head_.clear();
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                       std::size_t name_size, const uint8_t* value, std::size_t value_size, uint8_t,
                       void* connection) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
      self(connection).head_.add(text(name, name_size), text(value, value_size));
    return 0;
  }

  static int on_data(nghttp2_session* http2, uint8_t, int32_t stream, const uint8_t* data, std::size_t size,
                     void* connection) {
    nghttp2_session_consume_connection(http2, size);
    if (Call* call = self(connection).call(stream)) call->receive(text(data, size));
    return 0;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* connection) {
    return self(connection).on_frame(*frame);
  }

  static int on_sent(nghttp2_session*, const nghttp2_frame* frame, void* connection) {
    const bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!may_end || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (Call* call = self(connection).call(frame->hd.stream_id)) call->on_end_sent();
    return 0;
  }

  static int on_close(nghttp2_session*, int32_t stream, uint32_t, void* connection) {
    Connection& it = self(connection);
    Call* call = it.call(stream);
    if (call == nullptr) return 0;
    it.busy_since_tick_ = true;
    const bool in_vain = !call->has_heard() && !call->is_over();
    call->lost(engine::Cancel::kPeer);
    it.calls_.erase_and_dispose(it.calls_.iterator_to(*call), std::default_delete<Call>());
    it.shared_.stream_over();
    // Not a failure of the callback: nghttp2 would keep the stream, and what was being sent would be lost.
    if (in_vain) static_cast<void>(it.is_within(it.resets_, it.shared_.options.max_resets_per_second));
    return 0;
  }

  static int on_invalid(nghttp2_session*, const nghttp2_frame* frame, int error, void* connection) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    const Connection& it = self(connection);
    // Once the peer has acknowledged how many streams it may have, one more is an error of the connection.
    const bool knew = it.calls_.size() >= it.shared_.options.max_streams_per_connection;
    if (error == NGHTTP2_ERR_REFUSED_STREAM || (error == NGHTTP2_ERR_PROTO && knew)) {
      it.shared_.count(Limit::kStreams);
    }
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, std::size_t size,
                       nghttp2_data_source* source, void* connection) {
    constexpr std::size_t kFrameHead = 9;
    std::string& output = self(connection).loop_.output();
    // nghttp2 goes from one such frame to the next by itself; a socket that takes no more must hold back the calls.
    if (output.size() >= kWriteAtOnce) return NGHTTP2_ERR_WOULDBLOCK;
    output.append(text(head, kFrameHead));
    static_cast<Call*>(source->ptr)->take(output, size);
    return 0;
  }
};

Connection::Connection(Loop& loop, Shared& shared, std::unique_ptr<Channel> channel, std::string peer)
    : loop_(loop),
      shared_(shared),
      channel_(std::move(channel)),
      socket_(*loop.context(), channel_->number()),
      peer_(std::move(peer)),
      head_(shared.options.max_header_list_size),
      max_bytes_of_nothing_(bytes_of_nothing(shared.options)),
      max_age_(with_jitter(shared.options.max_connection_age)) {
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // Envoy ends every stream with RST_STREAM; resets that do harm are counted here instead.
  nghttp2_option_set_stream_reset_rate_limit(option, uint64_t{1} << 40, uint64_t{1} << 40);
  // Floods are counted by kind here, which a smaller limit of nghttp2's for the answers to them would come before.
  nghttp2_option_set_max_outbound_ack(option, 2 * kMaxQueuedFrames);
  nghttp2_session_server_new2(&http2_, Callbacks::all(), this, option);
  nghttp2_option_del(option);
}

Connection::~Connection() {
  if (channel_) static_cast<void>(socket_.release());
  calls_.clear_and_dispose(std::default_delete<Call>());
  nghttp2_session_del(http2_);
}

void Connection::start() {
  const H2Options& options = shared_.options;
  const std::array settings = {
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options.max_header_list_size},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  nghttp2_submit_settings(http2_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(http2_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  flush();
  await_readable();
}

Call* Connection::call(int32_t stream) const {
  return static_cast<Call*>(nghttp2_session_get_stream_user_data(http2_, stream));
}

// Reading.

void Connection::await_readable() {
  if (!channel_ || awaits_readable_) return;
  awaits_readable_ = true;
  const auto then = [self = shared_from_this()](const boost::system::error_code& error) {
    self->awaits_readable_ = false;
    if (!error && self->channel_) self->on_readable();
  };
  if (channel_->has_unread()) {
    boost::asio::post(socket_.get_executor(), [then] { then({}); });
  } else {
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read, then);
  }
}

/// Once: others want their turn, too.
void Connection::on_readable() {
  if (lingering_) return discard_input();
  const auto [state, size] = channel_->read(loop_.input());
  if (state == Channel::State::kClosed) return close();
  if (state == Channel::State::kNeedWrite) {
    read_needs_write_ = true;
    return await_writable();
  }
  if (state == Channel::State::kOpen) take_in(size);
  flush();
  const bool clogged = !unsent_.empty() && nghttp2_session_get_outbound_queue_size(http2_) > kMaxQueuedFrames;
  if (!clogged) await_readable();
}

void Connection::take_in(std::size_t size) {
  heard_since_tick_ = true;
  bytes_of_nothing_ += size;
  const ssize_t used = nghttp2_session_mem_recv(http2_, loop_.input().data(), size);
  if (used < 0) {
    on_fault(static_cast<int>(used));
  } else if (bytes_of_nothing_ > max_bytes_of_nothing_) {
    telemetry::log(telemetry::Level::kWarn, "h2",
                   "closed the connection of " + peer_ + ": it sent " + std::to_string(bytes_of_nothing_) +
                       " bytes that made neither a stream nor a message");
    shared_.count(Limit::kUnfinished);
    go_away(NGHTTP2_ENHANCE_YOUR_CALM);
  }
  // Not before: a stream that came behind the answer is served, and the last GOAWAY must say so.
  if (drain_is_known_) finish_drain();
}

/// Errors that nghttp2 does not tell the peer by itself.
void Connection::on_fault(int error) {
  switch (error) {
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
      shared_.count(Limit::kContinuationFlood);
      return go_away(NGHTTP2_ENHANCE_YOUR_CALM);
    case NGHTTP2_ERR_FLOODED:
      shared_.count(Limit::kPingFlood);
      return go_away(NGHTTP2_ENHANCE_YOUR_CALM);
    case NGHTTP2_ERR_CALLBACK_FAILURE:
      return;  // is_within() has told it
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
      return go_away(NGHTTP2_PROTOCOL_ERROR);
    default:
      return go_away(NGHTTP2_INTERNAL_ERROR);
  }
}

void Connection::go_away(uint32_t http2_error) { nghttp2_session_terminate_session(http2_, http2_error); }

void Connection::discard_input() {
  const auto [state, size] = channel_->read(loop_.input());
  if (state == Channel::State::kClosed) return close();
  await_readable();
}

// Writing.

void Connection::await_writable() {
  if (!channel_ || awaits_writable_) return;
  awaits_writable_ = true;
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->awaits_writable_ = false;
                       if (!error && self->channel_) self->on_writable();
                     });
}

void Connection::on_writable() {
  if (std::exchange(read_needs_write_, false)) return on_readable();
  flush();
  if (unsent_.empty()) unsent_.shrink_to_fit();
  await_readable();  // it may have been clogged
}

void Connection::flush() {
  if (!channel_ || !channel_->is_ready()) return;
  do {
    while ((unsent_.empty() || write_out()) && gather()) {
    }
    // Also when the socket takes no more: what waits for a stream has nothing to do with what it sends.
  } while (channel_ && resume_calls());
  end_if_done();
}

/// Puts frames together and sends them. False: there is nothing left to be sent now.
bool Connection::gather() {
  std::string& output = loop_.output();
  while (output.size() < kWriteAtOnce) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(http2_, &data);
    if (size <= 0) {
      if (size < 0) output.clear();  // out of memory
      break;
    }
    output.append(text(data, static_cast<std::size_t>(size)));
  }
  if (output.empty()) return false;
  unsent_.swap(output);
  const bool all = write_out();
  // The loop's buffer goes back with its room; what stays here is what the socket did not take.
  if (all) unsent_.swap(output);
  return all;
}

/// Writes what is unsent. False: the socket takes no more for now, or the connection is gone.
bool Connection::write_out() {
  std::string_view rest = unsent_;
  while (!rest.empty()) {
    const auto [state, size] = channel_->write(rest);
    if (state == Channel::State::kClosed) {
      unsent_.clear();
      close();
      return false;
    }
    if (state != Channel::State::kOpen) {
      unsent_.erase(0, unsent_.size() - rest.size());
      if (state == Channel::State::kNeedWrite) await_writable();
      return false;
    }
    rest.remove_prefix(size);
  }
  unsent_.clear();
  return true;
}

/// False: there are none.
bool Connection::resume_calls() {
  const std::vector<int32_t> resumed = std::exchange(resumed_, {});
  for (const int32_t stream : resumed) {
    if (Call* one = call(stream)) one->go_on();
  }
  return !resumed.empty();
}

/// Closes when HTTP/2 has nothing more to say; the peer may still have to read the last of it.
void Connection::end_if_done() {
  if (!channel_ || lingering_ || !unsent_.empty()) return;
  if (nghttp2_session_want_read(http2_) != 0 || nghttp2_session_want_write(http2_) != 0) return;
  lingering_ = true;
  drain_begun_ = Clock::now();
  drop_calls();
  channel_->end_writing();
  await_readable();
}

void Connection::drop_calls() {
  while (!calls_.empty()) {
    Call& call = calls_.front();
    nghttp2_session_set_stream_user_data(http2_, call.id(), nullptr);
    call.lost(engine::Cancel::kPeer);
    calls_.pop_front_and_dispose(std::default_delete<Call>());
    shared_.stream_over();
  }
}

void Connection::close() {
  if (!channel_) return;
  const auto self = shared_from_this();  // the loop lets go of it
  static_cast<void>(socket_.release());
  channel_.reset();
  drop_calls();
  loop_.forget(*this);
  shared_.connection_over();
}

// Frames.

int Connection::on_frame(const nghttp2_frame& frame) {
  const bool is_last = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  const bool is_answer = (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0;  // of PING and SETTINGS
  const uint32_t most = shared_.options.max_control_frames_per_second;
  bool fine = true;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) open_call(frame.hd.stream_id);
      break;
    case NGHTTP2_DATA:
      if (frame.hd.length == 0 && !is_last) fine = is_within(empty_frames_, most);
      break;
    case NGHTTP2_SETTINGS:
      established_ = true;
      if (!is_answer) fine = is_within(settings_, most);
      return fine ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    case NGHTTP2_PING:
      if (!is_answer) {
        fine = is_within(pings_, most);
      } else if (std::equal(kDrainPing.begin(), kDrainPing.end(), frame.ping.opaque_data)) {
        drain_is_known_ = true;
      }
      return fine ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    default:
      return 0;
  }
  if (!fine) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (is_last) {
    if (Call* ended = call(frame.hd.stream_id)) ended->half_closed();
  }
  return 0;
}

/// Counts a frame of a kind. False: too many came in this second, and the connection ends.
bool Connection::is_within(Rate& rate, uint32_t most) {
  if (most == 0 || ++rate.count <= most) return true;
  if (rate.count > most + 1) return false;  // that has been told
  static telemetry::RateLimit lines(1);
  if (lines.allow()) {
    telemetry::log(telemetry::Level::kWarn, "h2",
                   "closed the connection of " + peer_ + ": a flood, see extproc_limits_hit_total");
  }
  shared_.count(rate.limit);
  go_away(NGHTTP2_ENHANCE_YOUR_CALM);
  return false;
}

void Connection::open_call(int32_t stream) {
  auto* opened = new Call(*this, stream);
  calls_.push_back(*opened);
  nghttp2_session_set_stream_user_data(http2_, stream, opened);
  head_.complete();
  admit(*opened);
}

/// Opens a call whose header list is in order, and refuses any other as gRPC says:
/// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
void Connection::admit(Call& call) {
  const std::size_t others = shared_.streams.fetch_add(1);
  if (head_.is_too_large()) {
    shared_.count(Limit::kHeaderListSize);
    return call.refuse_as_http(
        "431",
        absl::ResourceExhaustedError("the header list is larger than server.limits.max_header_list_size, " +
                                     std::to_string(shared_.options.max_header_list_size) + " bytes"));
  }
  if (head_.method() == "HEAD") return call.refuse_with_text("405", "");
  if (head_.method() != "POST") return call.refuse_with_text("405", "gRPC calls are made with POST\n");
  if (!is_grpc(head_.content_type())) {
    return call.refuse_with_text("415", "the content-type of gRPC calls begins with application/grpc\n");
  }
  made_progress();
  const bool is_process = head_.path() == Services::kProcess;
  engine::StreamFactory* factory = is_process ? shared_.process : shared_.services.find(head_.path());
  if (factory == nullptr)
    return call.refuse(absl::UnimplementedError("this server has no " + std::string(head_.path())));
  if (others >= shared_.options.max_streams + (is_process ? 0 : kReservedOthers)) {
    shared_.count(Limit::kStreams);
    return call.refuse(absl::ResourceExhaustedError("server.limits.max_streams is " +
                                                    std::to_string(shared_.options.max_streams)));
  }
  Call::Opening opening{.facts = {.peer = peer_, .metadata = head_.metadata()}};
  opening.gzip = head_.encoding() == "gzip";
  if (!opening.gzip && !head_.encoding().empty() && head_.encoding() != "identity") {
    return call.refuse(absl::UnimplementedError("grpc-encoding may be identity or gzip, not " +
                                                std::string(head_.encoding())));
  }
  if (!head_.malformed().empty()) {
    return call.refuse(
        absl::InternalError("the value of " + std::string(head_.malformed()) + " is not base64"));
  }
  if (!head_.timeout().empty()) {
    opening.timeout = parse_timeout(head_.timeout());
    if (!opening.timeout) return call.refuse(absl::InternalError("grpc-timeout is malformed"));
  }
  call.open(*factory, opening);
}

// Going away, and time.

void Connection::drain() {
  if (!channel_ || draining_) return;
  draining_ = true;
  drain_begun_ = Clock::now();
  // The first GOAWAY takes no stream back: one that is on its way is still served. The peer has read it when it
  // answers the PING behind it.
  nghttp2_submit_shutdown_notice(http2_);
  nghttp2_submit_ping(http2_, NGHTTP2_FLAG_NONE, kDrainPing.data());
  flush();
}

void Connection::finish_drain() {
  if (!draining_ || std::exchange(drain_is_final_, true)) return;
  nghttp2_submit_goaway(http2_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(http2_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
}

void Connection::cut_off() {
  const auto self = shared_from_this();  // flush() may close it, and the loop let go of it
  for (Call& call : calls_) {
    if (call.is_over()) continue;
    shared_.cancelled.fetch_add(1);
    call.shut_down();
  }
  flush();
  if (channel_) channel_->end_writing();
  close();
}

void Connection::on_tick(Clock::time_point now) {
  if (!channel_) return;
  if (now - second_ >= std::chrono::seconds(1)) {
    second_ = now;
    for (Rate* rate : {&resets_, &settings_, &pings_, &empty_frames_}) rate->count = 0;
  }
  if (std::exchange(heard_since_tick_, false)) {
    heard_ = now;
    ping_is_out_ = false;
  }
  if (std::exchange(busy_since_tick_, false) || !calls_.empty()) busy_ = now;
  const bool farewell_is_over = now - drain_begun_ > kFarewell;
  if (lingering_) {
    if (farewell_is_over) close();
    return;
  }
  if (draining_ && !drain_is_final_ && farewell_is_over) {
    finish_drain();
    flush();
  }
  look_at_age(now);
  if (channel_) look_at_silence(now);
}

void Connection::look_at_age(Clock::time_point now) {
  const H2Options& options = shared_.options;
  if (max_age_.count() != 0 && now - begun_ > max_age_) {
    drain();
    if (options.max_connection_age_grace.count() != 0 &&
        now - begun_ > max_age_ + options.max_connection_age_grace) {
      return close();
    }
  }
  if (!draining_ && options.idle_timeout.count() != 0 && now - busy_ > options.idle_timeout) {
    shared_.count(Limit::kIdleTimeout);
    drain();
  }
}

void Connection::look_at_silence(Clock::time_point now) {
  const H2Options& options = shared_.options;
  if (!established_) {
    if (options.handshake_timeout.count() == 0 || now - begun_ <= options.handshake_timeout) return;
    shared_.count(Limit::kHandshakeTimeout);
    return close();
  }
  if (options.keepalive_interval.count() == 0) return;
  if (ping_is_out_) {
    if (now - ping_sent_ <= options.keepalive_timeout) return;
    shared_.count(Limit::kKeepaliveTimeout);
    return close();
  }
  if (now - heard_ <= options.keepalive_interval) return;
  ping_is_out_ = true;
  ping_sent_ = now;
  nghttp2_submit_ping(http2_, NGHTTP2_FLAG_NONE, nullptr);
  flush();
}

}  // namespace extprocd::transport::h2
