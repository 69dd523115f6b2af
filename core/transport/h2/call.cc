#include "core/transport/h2/call.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>
#include <nghttp2/nghttp2.h>

#include "core/transport/h2/connection.h"
#include "core/transport/h2/grpc_protocol.h"

namespace extprocd::transport::h2 {
namespace {

/// Unsent bytes of replies at which a call takes no more input, so that HTTP/2's flow control holds back a peer
/// that does not read; it goes on at half of it.
constexpr std::size_t kMaxUnsent = 1 << 20;
/// Buffers that are larger go back to the loop when they are empty: an idle stream keeps little.
constexpr std::size_t kOwnBuffer = 1 << 10;
/// Room for a message that comes in parts, to begin with.
constexpr std::size_t kFirstRoom = 64 << 10;
/// What has been sent, or taken in, is dropped from the front of a buffer in pieces of so much.
constexpr std::size_t kCompactAt = 256 << 10;

constexpr engine::Clock::time_point kNever = engine::Clock::time_point::max();

/// A field whose name lives as long as the process; nghttp2 copies its value.
nghttp2_nv field(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

/// A field whose value lives as long as the process.
nghttp2_nv constant_field(std::string_view name, std::string_view value) {
  nghttp2_nv result = field(name, value);
  result.flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  return result;
}

/// How much room a message gets that has come so far: all, once a sixteenth is there, so that it is moved little; who
/// only announces much is given room for what he sends.
std::size_t room_for(std::size_t come, std::size_t wanted) {
  return 16 * come >= wanted ? wanted : std::min(wanted, std::max(2 * come, kFirstRoom));
}

nghttp2_nv http_status_ok() { return constant_field(":status", "200"); }
nghttp2_nv grpc_content_type() { return constant_field("content-type", "application/grpc"); }

/// grpc-status, and grpc-message where there is one.
struct StatusFields {
  explicit StatusFields(const absl::Status& status)
      : code(std::to_string(static_cast<int>(status.code()))),
        message(percent_encoded(shortened({status.message().data(), status.message().size()}))) {}

  void add_to(std::vector<nghttp2_nv>& fields) const {
    fields.push_back(field("grpc-status", code));
    if (!message.empty()) fields.push_back(field("grpc-message", message));
  }

  std::string code;
  std::string message;
};

ssize_t read_replies(nghttp2_session*, int32_t, uint8_t*, std::size_t most, uint32_t* flags,
                     nghttp2_data_source* source, void*) {
  return static_cast<Call*>(source->ptr)->next_frame(most, *flags);
}

}  // namespace

/// A call as other threads know it.
class Call::Remote final : public engine::Executor, public std::enable_shared_from_this<Remote> {
 public:
  Remote(std::weak_ptr<boost::asio::io_context> context, Call& call)
      : context_(std::move(context)), call_(&call) {}

  void post(std::function<void()> work) override {
    const auto context = context_.lock();
    if (!context) return;  // the loop is gone
    boost::asio::post(*context, [self = shared_from_this(), work = std::move(work)] { self->run(work); });
  }
  /// On the loop's thread, as all that follows.
  void run(const std::function<void()>& work) {
    if (call_ == nullptr) return;
    // The work may end the call, and the flush the connection.
    const auto connection = call_->connection_.shared_from_this();
    work();
    connection->flush();
  }
  /// The call is over: nothing that was posted runs any more.
  void close() { call_ = nullptr; }
  [[nodiscard]] Call* call() const { return call_; }

 private:
  const std::weak_ptr<boost::asio::io_context> context_;  // it holds what was posted, and that this
  Call* call_;
};

Call::~Call() {
  if (remote_) remote_->close();
}

void Call::open(engine::StreamFactory& factory, const Opening& opening) {
  gzip_ = opening.gzip;
  if (opening.timeout) {
    deadline_ = std::make_unique<boost::asio::steady_timer>(*connection_.loop().context());
    // asio counts from the clock's beginning: all the time that there is does not fit behind now.
    constexpr std::chrono::hours kLongest{24 * 365};
    deadline_->expires_after(std::min<std::chrono::nanoseconds>(*opening.timeout, kLongest));
    executor();
    deadline_->async_wait([remote = remote_](const boost::system::error_code& error) {
      if (error || remote->call() == nullptr) return;
      remote->run([&call = *remote->call()] {
        call.fail(absl::DeadlineExceededError("the call's deadline has passed"));
      });
    });
  }
  stream_ = factory.open(*this, opening.facts);
}

void Call::refuse_as_http(std::string_view http_status, const absl::Status& status) {
  over();
  answer_without_replies(http_status, status);
}

void Call::refuse_with_text(std::string_view http_status, std::string_view text) {
  over();
  responded_ = true;
  is_text_ = true;
  outgoing_ = text;
  const std::array fields = {field(":status", http_status), constant_field("content-type", "text/plain"),
                             constant_field("allow", "POST")};
  const nghttp2_data_provider body{.source = {.ptr = this}, .read_callback = read_replies};
  nghttp2_submit_response(connection_.http2(), id_, fields.data(), fields.size(), &body);
}

void Call::receive(std::string_view bytes) {
  std::size_t used = 0;
  if (over_) {
    used = bytes.size();  // who sends on needs window to get to his own end
  } else if (!held_) {    // what waits already goes first
    used = take_in(bytes);
  }
  if (used < bytes.size()) hold(bytes.substr(used));
  nghttp2_session_consume_stream(connection_.http2(), id_, used);
}

/// What is held keeps its part of the stream's window, kStreamWindow (1 MiB): no more than that comes, however long it
/// waits.
void Call::hold(std::string_view bytes) {
  if (!held_) held_ = std::make_unique<Held>();
  held_->bytes.append(bytes);
  connection_.keeps(bytes.size());
}

/// Takes in what is not to be held; how much that was.
std::size_t Call::take_in(std::string_view bytes) {
  const std::size_t all = bytes.size();
  while (!bytes.empty() && !over_) {
    if (is_paused()) return all - bytes.size();
    if (!partial_.empty()) {
      bytes = continue_partial(bytes);
      continue;
    }
    if (bytes.size() >= kMessagePrefix) {
      const Prefix prefix = Prefix::read(bytes);
      if (!is_acceptable(prefix.length)) break;
      if (bytes.size() - kMessagePrefix >= prefix.length) {
        const std::string_view message = bytes.substr(kMessagePrefix, prefix.length);
        bytes.remove_prefix(kMessagePrefix + prefix.length);
        take_whole_message(prefix.flags, message);
        continue;
      }
    }
    begin_partial(bytes);
    break;
  }
  return all;
}

bool Call::is_acceptable(uint32_t length) {
  const uint64_t most = connection_.shared().options.max_message_size;
  if (length <= most) return true;
  connection_.shared().count(telemetry::Limit::kMessageSize);
  fail(absl::ResourceExhaustedError("a message of " + std::to_string(length) +
                                    " bytes; server.limits.max_message_size is " + std::to_string(most)));
  return false;
}

void Call::begin_partial(std::string_view bytes) {
  if (partial_.capacity() < kOwnBuffer) partial_ = connection_.loop().take_buffer();
  partial_.assign(bytes);
}

/// Completes the message, or its prefix, with as many bytes as that takes; the others.
std::string_view Call::continue_partial(std::string_view bytes) {
  const auto append = [&](std::size_t wanted) {
    const std::size_t size = std::min(wanted - partial_.size(), bytes.size());
    if (partial_.size() + size > partial_.capacity()) partial_.reserve(room_for(partial_.size(), wanted));
    partial_.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    return partial_.size() == wanted;
  };
  if (partial_.size() < kMessagePrefix && !append(kMessagePrefix)) return {};
  const Prefix prefix = Prefix::read(partial_);
  if (!is_acceptable(prefix.length)) return {};
  if (!append(kMessagePrefix + prefix.length)) return {};
  std::string whole = std::exchange(partial_, {});
  take_whole_message(prefix.flags, std::string_view(whole).substr(kMessagePrefix));
  connection_.loop().give_back(std::move(whole));
  return bytes;
}

void Call::take_whole_message(uint8_t flags, std::string_view message) {
  heard_ = true;
  connection_.made_progress();
  if (flags == 0) {
    hear(message);
  } else if (flags == 1 && gzip_) {
    inflate(message);
  } else if (flags == 1) {
    fail(absl::InternalError("a compressed message without grpc-encoding"));
  } else {
    fail(absl::InternalError("a message with unknown flags"));
  }
}

void Call::inflate(std::string_view message) {
  const uint64_t most = connection_.shared().options.max_message_size;
  const auto inflated = gunzip(message, most);
  if (inflated.ok()) {
    hear(*inflated);
  } else if (inflated.status().code() == absl::StatusCode::kResourceExhausted) {
    connection_.shared().count(telemetry::Limit::kMessageSize);
    fail(absl::ResourceExhaustedError("a message of more than " + std::to_string(most) +
                                      " bytes when decompressed, which is server.limits.max_message_size"));
  } else {
    fail(absl::InternalError(inflated.status().message()));
  }
}

void Call::hear(std::string_view message) { stream_->receive(engine::Message::borrow(message)); }

void Call::half_closed() {
  half_closed_ = true;
  if (over_ || is_paused() || held_ || end_is_told_) return;
  if (!partial_.empty()) {
    fail(absl::InternalError("the stream ended within a message"));
    return;
  }
  end_is_told_ = true;
  stream_->half_closed();
}

void Call::go_on() {
  goes_on_ = false;
  if (unsent() <= kMaxUnsent / 2) clogged_ = false;
  if (over_ || is_paused()) return;
  if (std::unique_ptr<Held> held = std::move(held_)) {  // over() must not free what a message lies in
    const std::string_view bytes = std::string_view(held->bytes).substr(held->at);
    const std::size_t used = take_in(bytes);
    nghttp2_session_consume_stream(connection_.http2(), id_, used);
    if (used < bytes.size()) {
      held->at += used;
      if (held->at >= kCompactAt) held->bytes.erase(0, std::exchange(held->at, 0));
      held_ = std::move(held);
    }
  }
  if (half_closed_) half_closed();
}

void Call::lost(engine::Cancel by) {
  if (over_) return;
  over();
  stream_->cancelled(by);
}

void Call::shut_down() {
  lost(engine::Cancel::kShutdown);
  end(absl::UnavailableError("the server has stopped"));
}

/// Ends the call for the stream's part: the transport's own status goes to the peer.
void Call::fail(const absl::Status& status) {
  if (over_) return;
  over();
  stream_->cancelled(engine::Cancel::kPeer);
  end(status);
}

void Call::over() {
  over_ = true;
  deadline_.reset();
  timer_.reset();
  held_.reset();
  if (remote_) remote_->close();
}

void Call::send(const wire::Pieces& message) {
  if (over_) return;
  if (outgoing_.capacity() < kOwnBuffer && message.size() > kOwnBuffer) {
    std::string buffer = connection_.loop().take_buffer();
    buffer.append(outgoing_);
    outgoing_ = std::move(buffer);
  }
  Prefix::append(outgoing_, message.size());
  for (const std::string_view piece : message.list()) outgoing_.append(piece);
  if (unsent() > kMaxUnsent) clogged_ = true;
  if (responded_) {
    resume();
  } else {
    respond();
  }
}

void Call::respond() {
  responded_ = true;
  const std::array fields = {http_status_ok(), grpc_content_type()};
  const nghttp2_data_provider replies{.source = {.ptr = this}, .read_callback = read_replies};
  nghttp2_submit_response(connection_.http2(), id_, fields.data(), fields.size(), &replies);
}

void Call::resume() {
  if (!std::exchange(deferred_, false)) return;
  nghttp2_session_resume_data(connection_.http2(), id_);
}

void Call::finish(const absl::Status& status) {
  if (over_) return;
  over();
  end(status);
}

void Call::end(const absl::Status& status) {
  if (!responded_) {
    answer_without_replies("200", status);
  } else if (deferred_) {
    submit_trailers(status);  // nothing waits to go out before them
  } else {
    final_status_ = std::make_unique<absl::Status>(status);
  }
}

/// What gRPC calls Trailers-Only.
void Call::answer_without_replies(std::string_view http_status, const absl::Status& status) {
  responded_ = true;
  const StatusFields text(status);
  std::vector<nghttp2_nv> fields = {field(":status", http_status), grpc_content_type()};
  text.add_to(fields);
  if (status.code() == absl::StatusCode::kUnimplemented) {
    fields.push_back(constant_field("grpc-accept-encoding", "identity,gzip"));
  }
  nghttp2_submit_response(connection_.http2(), id_, fields.data(), fields.size(), nullptr);
}

void Call::submit_trailers(const absl::Status& status) {
  if (status.ok()) {
    const nghttp2_nv ok = constant_field("grpc-status", "0");
    nghttp2_submit_trailer(connection_.http2(), id_, &ok, 1);
    return;
  }
  const StatusFields text(status);
  std::vector<nghttp2_nv> fields;
  text.add_to(fields);
  nghttp2_submit_trailer(connection_.http2(), id_, fields.data(), fields.size());
}

ssize_t Call::next_frame(std::size_t most, uint32_t& flags) {
  const std::size_t size = std::min(most, unsent());
  if (size == 0 && !final_status_ && !is_text_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (size == unsent() && is_text_) flags |= NGHTTP2_DATA_FLAG_EOF;
  if (size == unsent() && final_status_) {
    flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    submit_trailers(*final_status_);
  }
  return static_cast<ssize_t>(size);
}

void Call::take(std::string& to, std::size_t size) {
  to.append(outgoing_, sent_, size);
  sent_ += size;
  if (unsent() == 0) {
    sent_ = 0;
    outgoing_.clear();
    if (outgoing_.capacity() > kOwnBuffer) connection_.loop().give_back(std::exchange(outgoing_, {}));
  } else if (sent_ >= kCompactAt) {
    outgoing_.erase(0, std::exchange(sent_, 0));
  }
  if (clogged_ && unsent() <= kMaxUnsent / 2) go_on_later();
}

void Call::go_on_later() {
  if (!std::exchange(goes_on_, true)) connection_.go_on_later(id_);
}

void Call::on_end_sent() {
  // The peer need not go on: HTTP/2 tells it so (RFC 9113, section 8.1).
  if (!half_closed_) {
    nghttp2_submit_rst_stream(connection_.http2(), NGHTTP2_FLAG_NONE, id_, NGHTTP2_NO_ERROR);
  }
}

std::shared_ptr<engine::Executor> Call::executor() {
  if (!remote_) remote_ = std::make_shared<Remote>(connection_.loop().context(), *this);
  return remote_;
}

void Call::pause_reading() { stopped_ = true; }

void Call::resume_reading() {
  stopped_ = false;
  if (!over_ && (held_ || half_closed_)) go_on_later();
}

void Call::set_timer(std::optional<engine::Clock::time_point> time) {
  if (over_ || (!time && !timer_)) return;
  if (!timer_) timer_ = std::make_unique<boost::asio::steady_timer>(*connection_.loop().context());
  timer_->expires_at(time.value_or(kNever));
  if (!time) return;
  executor();
  timer_->async_wait([remote = remote_, time = *time](const boost::system::error_code& error) {
    // One whose time has come cannot be called off any more, but the timer has another time by then.
    Call* call = remote->call();
    if (error || call == nullptr || call->timer_->expiry() != time) return;
    remote->run([call] { call->timer_fired(); });
  });
}

void Call::timer_fired() {
  timer_->expires_at(kNever);
  stream_->timer_fired();
}

}  // namespace extprocd::transport::h2
