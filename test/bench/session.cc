#include "test/bench/session.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>

namespace extprocd::bench {
namespace {

constexpr std::size_t kPrefix = 5;               // a flag and a length
constexpr std::size_t kMaxMessage = 256u << 20;  // more is taken for nonsense
constexpr std::size_t kReadAtOnce = 64u << 10;
constexpr std::size_t kWriteAtOnce = 64u << 10;
constexpr uint32_t kStreamWindow = 16u << 20;    // Envoy's initial_stream_window_size
constexpr int32_t kConnectionWindow = 24 << 20;  // Envoy's initial_connection_window_size
constexpr uint64_t kUnlimited = uint64_t{1} << 40;
constexpr uint32_t kMaxStreams = 1u << 20;

std::string_view text(const uint8_t* data, std::size_t size) {
  return {static_cast<const char*>(static_cast<const void*>(data)), size};
}

std::size_t length_in(std::string_view prefix) {
  std::size_t length = 0;
  for (const char byte : prefix.substr(1, 4)) length = length << 8 | static_cast<unsigned char>(byte);
  return length;
}

}  // namespace

void append_framed(std::string& to, const wire::Pieces& message) {
  to.push_back('\0');
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<char>(message.size() >> shift));
  for (const std::string_view piece : message.list()) to.append(piece);
}

nghttp2_nv http2_header(std::string_view name, std::string_view value) {
  // nghttp2 does not write to them, though it does not say const.
  const auto bytes = [](std::string_view view) {
    return static_cast<uint8_t*>(const_cast<void*>(static_cast<const void*>(view.data())));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

void Stream::send(std::string_view frames) {
  outgoing_.append(frames);
  resume();
}

void Stream::send_borrowed(std::string_view frames) {
  if (!all_is_sent()) return send(frames);
  borrowed_ = frames;
  resume();
}

void Stream::send_message(const wire::Pieces& message) {
  append_framed(outgoing_, message);
  resume();
}

void Stream::half_close() {
  ending_ = true;
  resume();
}

void Stream::half_close_and_reset() {
  reset_behind_end_ = true;
  half_close();
}

void Stream::end_with(std::string_view grpc_status) {
  trailer_ = grpc_status;
  half_close();
}

void Stream::reset() { nghttp2_submit_rst_stream(http2_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_CANCEL); }

void Stream::resume() {
  if (!deferred_) return;
  deferred_ = false;
  nghttp2_session_resume_data(http2_, id_);
}

void Stream::malformed(std::string_view what) {
  incoming_.clear();
  reset();
  on_malformed(what);
}

std::size_t Stream::take(uint8_t* to, std::size_t room) {
  const std::string_view waiting = borrowed_.empty() ? std::string_view(outgoing_).substr(sent_) : borrowed_;
  const std::size_t size = std::min(room, waiting.size());
  std::memcpy(to, waiting.data(), size);
  if (!borrowed_.empty()) {
    borrowed_.remove_prefix(size);
    return size;
  }
  sent_ += size;
  if (sent_ == outgoing_.size()) {
    outgoing_.clear();
    sent_ = 0;
  }
  return size;
}

void Stream::receive(std::string_view bytes) {
  const bool continued = !incoming_.empty();
  if (continued) {
    incoming_.append(bytes);
    bytes = incoming_;
  }
  while (bytes.size() >= kPrefix) {
    const std::size_t length = length_in(bytes);
    if (bytes[0] != '\0') return malformed("a compressed message, which Envoy does not take");
    if (length > kMaxMessage) return malformed("a message of " + std::to_string(length) + " bytes");
    if (bytes.size() - kPrefix < length) break;
    on_message(bytes.substr(kPrefix, length));
    bytes.remove_prefix(kPrefix + length);
  }
  if (continued) {
    incoming_.erase(0, incoming_.size() - bytes.size());
  } else {
    incoming_.assign(bytes);
  }
}

void Stream::end_of_input() {
  if (!incoming_.empty()) return malformed("a message that was cut off");
  on_half_close();
}

/// What nghttp2 calls.
struct Session::Callbacks {
  static Session& self(void* session) { return *static_cast<Session*>(session); }
  static Stream* stream(nghttp2_session* http2, int32_t id) {
    return static_cast<Stream*>(nghttp2_session_get_stream_user_data(http2, id));
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
    return callbacks;
  }

  static int on_begin_headers(nghttp2_session* http2, const nghttp2_frame* frame, void* session) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || !self(session).accept_) return 0;
    Stream& made = self(session).adopt(self(session).accept_(), frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(http2, frame->hd.stream_id, &made);
    return 0;
  }

  static int on_header(nghttp2_session* http2, const nghttp2_frame* frame, const uint8_t* name,
                       std::size_t name_size, const uint8_t* value, std::size_t value_size, uint8_t /*flags*/,
                       void* /*session*/) {
    if (Stream* to = stream(http2, frame->hd.stream_id))
      to->on_header(text(name, name_size), text(value, value_size));
    return 0;
  }

  static int on_data(nghttp2_session* http2, uint8_t /*flags*/, int32_t id, const uint8_t* data,
                     std::size_t size, void* /*session*/) {
    if (Stream* to = stream(http2, id)) to->receive(text(data, size));
    return 0;
  }

  static int on_frame(nghttp2_session* http2, const nghttp2_frame* frame, void* session) {
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) self(session).has_peer_settings_ = true;
        return 0;
      case NGHTTP2_GOAWAY:
        if (!self(session).accept_)
          self(session).last_error_ = "the server told the connection to go away (GOAWAY)";
        return self(session).accept_ ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
      case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) answer(http2, frame->hd.stream_id);
        break;
      case NGHTTP2_DATA:
        break;
      default:
        return 0;
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (Stream* to = stream(http2, frame->hd.stream_id)) to->end_of_input();
    return 0;
  }

  static void answer(nghttp2_session* http2, int32_t id) {
    const std::array headers = {http2_header(":status", "200"),
                                http2_header("content-type", "application/grpc")};
    nghttp2_data_provider provider{.source = {.ptr = stream(http2, id)}, .read_callback = read};
    nghttp2_submit_response(http2, id, headers.data(), headers.size(), &provider);
  }

  static ssize_t read(nghttp2_session* http2, int32_t id, uint8_t* to, std::size_t room, uint32_t* flags,
                      nghttp2_data_source* source, void* /*session*/) {
    Stream& from = *static_cast<Stream*>(source->ptr);
    const std::size_t size = from.take(to, room);
    if (from.all_is_sent()) {
      if (from.ending_) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!from.trailer_.empty()) {
          *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
          const nghttp2_nv trailer = http2_header("grpc-status", from.trailer_);
          nghttp2_submit_trailer(http2, id, &trailer, 1);
        }
      } else if (size == 0) {
        from.deferred_ = true;
        return NGHTTP2_ERR_DEFERRED;
      }
    }
    return static_cast<ssize_t>(size);
  }

  static int on_sent(nghttp2_session* http2, const nghttp2_frame* frame, void* /*session*/) {
    if (frame->hd.type != NGHTTP2_DATA || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    // Submitted earlier, it would overtake END_STREAM. Envoy 1.40 gives this code, whether all went well or not.
    const Stream* from = stream(http2, frame->hd.stream_id);
    if (from != nullptr && from->reset_behind_end_) {
      nghttp2_submit_rst_stream(http2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    }
    return 0;
  }

  static int on_close(nghttp2_session* /*http2*/, int32_t id, uint32_t error, void* session) {
    auto& streams = self(session).streams_;
    const auto found = streams.find(id);
    if (found == streams.end()) return 0;
    const std::unique_ptr<Stream> stream = std::move(found->second);
    streams.erase(found);
    stream->on_close(error, {});
    return 0;
  }

  static int on_error(nghttp2_session* /*http2*/, int /*code*/, const char* message, std::size_t size,
                      void* session) {
    self(session).last_error_.assign(message, size);
    return 0;
  }
};

Session::Session(Descriptor socket, Poller& poller, Accept accept)
    : socket_(std::move(socket)), poller_(poller), accept_(std::move(accept)) {
  nghttp2_session_callbacks* callbacks = Callbacks::make();
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  // Envoy ends every stream with RST_STREAM, which nghttp2 takes for an attack (CVE-2023-44487) after a thousand.
  nghttp2_option_set_stream_reset_rate_limit(option, kUnlimited, kUnlimited);
  if (accept_) {
    nghttp2_session_server_new2(&http2_, callbacks, this, option);
  } else {
    nghttp2_session_client_new2(&http2_, callbacks, this, option);
  }
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const std::array settings = {
      nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams},
  };
  nghttp2_submit_settings(http2_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(http2_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  poller_.add(socket_.get(), *this);
}

Session::~Session() {
  if (lost_.empty()) poller_.remove(socket_.get());
  nghttp2_session_del(http2_);
}

std::optional<uint32_t> Session::peer_max_streams() const {
  if (!has_peer_settings_) return std::nullopt;
  return nghttp2_session_get_remote_settings(http2_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

Stream& Session::adopt(std::unique_ptr<Stream> stream, int32_t id) {
  stream->http2_ = http2_;
  stream->id_ = id;
  return *streams_.insert_or_assign(id, std::move(stream)).first->second;
}

void Session::open(std::unique_ptr<Stream> stream, std::span<const nghttp2_nv> headers) {
  nghttp2_data_provider provider{.source = {.ptr = stream.get()}, .read_callback = Callbacks::read};
  const int32_t id =
      nghttp2_submit_request(http2_, nullptr, headers.data(), headers.size(), &provider, stream.get());
  if (id < 0) {
    stream->on_close(NGHTTP2_REFUSED_STREAM, nghttp2_strerror(id));
    return;
  }
  adopt(std::move(stream), id);
}

void Session::on_ready() {
  std::array<uint8_t, kReadAtOnce> buffer;  // NOLINT: filled by recv
  while (lost_.empty()) {
    const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) return lose(std::strerror(errno));
    if (size == 0) return lose("the peer closed the connection");
    const ssize_t used = nghttp2_session_mem_recv(http2_, buffer.data(), static_cast<std::size_t>(size));
    if (used < 0) {
      return lose(last_error_.empty() ? nghttp2_strerror(static_cast<int>(used)) : last_error_);
    }
    if (static_cast<std::size_t>(size) < buffer.size()) break;
  }
  flush();
}

void Session::flush() {
  while (lost_.empty()) {
    while (outgoing_.size() < kWriteAtOnce) {
      const uint8_t* data = nullptr;
      const ssize_t size = nghttp2_session_mem_send(http2_, &data);
      if (size < 0) return lose(nghttp2_strerror(static_cast<int>(size)));
      if (size == 0) break;
      outgoing_.append(text(data, static_cast<std::size_t>(size)));
    }
    const std::size_t waiting = outgoing_.size() - sent_;
    if (waiting == 0) break;
    const ssize_t size = ::send(socket_.get(), outgoing_.data() + sent_, waiting, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno != EAGAIN) return lose(std::strerror(errno));
    const bool blocked = size < 0;
    if (blocked != blocked_) {
      blocked_ = blocked;
      poller_.want_write(socket_.get(), *this, blocked);
    }
    if (blocked) return;
    sent_ += static_cast<std::size_t>(size);
    if (sent_ == outgoing_.size()) {
      outgoing_.clear();
      sent_ = 0;
    }
  }
  if (lost_.empty() && nghttp2_session_want_read(http2_) == 0 && nghttp2_session_want_write(http2_) == 0) {
    lose(last_error_.empty() ? "the peer does not speak HTTP/2 as it must" : last_error_);
  }
}

void Session::lose(std::string why) {
  lost_ = std::move(why);
  poller_.remove(socket_.get());
  const auto streams = std::exchange(streams_, {});
  for (const auto& [id, stream] : streams) stream->on_close(NGHTTP2_NO_ERROR, lost_);
}

}  // namespace extprocd::bench
