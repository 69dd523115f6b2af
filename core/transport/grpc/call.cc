#include "core/transport/grpc/call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpc/grpc.h>

namespace extprocd::transport {
namespace {

constexpr std::size_t kReservedOthers = 1000;  // streams over max_streams that are no Process streams

/// The message as one piece, owned by a slice of its own. Short slices keep their bytes inside themselves, so
/// the view is taken where the slice will stay.
engine::Message to_message(const grpc::ByteBuffer& buffer, bool& ok) {
  auto slice = std::make_unique<grpc::Slice>();
  ok = buffer.TrySingleSlice(slice.get()).ok() || buffer.DumpToSingleSlice(slice.get()).ok();
  if (!ok) return {};
  const std::string_view bytes(reinterpret_cast<const char*>(slice->begin()), slice->size());
  return {bytes, slice.release(), [](void* owner) { delete static_cast<grpc::Slice*>(owner); }};
}

grpc::ByteBuffer to_buffer(const wire::Pieces& message) {
  const auto& [head, body, tail] = message.list();
  const std::array slices = {grpc::Slice(head.data(), head.size()), grpc::Slice(body.data(), body.size()),
                             grpc::Slice(tail.data(), tail.size())};
  return {slices.data(), body.empty() ? 1 : slices.size()};
}

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

/// grpc++ writes the peer as a URI: "ipv6:%5B::1%5D:4711".
std::string decoded(const std::string& peer) {
  std::string text;
  for (std::size_t i = 0; i < peer.size(); ++i) {
    const std::string_view hex = std::string_view(peer).substr(i).substr(0, 3);
    unsigned value = 0;
    if (hex.size() == 3 && hex[0] == '%' &&
        std::from_chars(hex.data() + 1, hex.data() + 3, value, 16).ptr == hex.data() + 3) {
      text += static_cast<char>(value);
      i += 2;
    } else {
      text += peer[i];
    }
  }
  return text;
}

std::string_view view(const grpc::string_ref& text) { return {text.data(), text.size()}; }

}  // namespace

/// Work from other threads waits here for the call's thread, which an alarm wakes. An alarm for each piece of
/// work would not do: alarms that were set one after the other may ring in another order.
class Call::CallExecutor final : public engine::Executor,
                                 public Step,
                                 public std::enable_shared_from_this<CallExecutor> {
 public:
  explicit CallExecutor(grpc::CompletionQueue& queue) : queue_(queue) {}

  void post(std::function<void()> work) override {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(work));
    if (awake_) return;
    // An open call keeps its queue from being shut down, so that the alarm may be set.
    awake_ = shared_from_this();
    Step* tag = this;
    alarm_.Set(&queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), tag);
  }
  void run(bool) override {
    std::vector<std::function<void()>> work;
    std::shared_ptr<CallExecutor> self;
    {
      const std::lock_guard lock(mutex_);
      work.swap(waiting_);
      self.swap(awake_);
    }
    for (auto& one : work) {
      if (over_) return;
      one();
    }
  }
  /// The call is over: what waits is dropped. On the call's own thread, as run() is.
  void close() {
    over_ = true;
    std::vector<std::function<void()>> dropped;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    dropped.swap(waiting_);
  }

 private:
  grpc::CompletionQueue& queue_;
  bool over_ = false;  // as closed_, but only for the call's own thread
  std::mutex mutex_;
  bool closed_ = false;
  std::vector<std::function<void()>> waiting_;
  std::shared_ptr<CallExecutor> awake_;  // itself, while the alarm is on its way
  grpc::Alarm alarm_;
};

void Call::await(CallContext& context, grpc::ServerCompletionQueue& queue, Kind kind) {
  if (context.stopping.load()) return;
  auto* call = new Call(context, queue, kind);
  call->steps_ = 1;
  call->server_context_.AsyncNotifyWhenDone(&call->done_step_);
  Step* tag = &call->started_step_;
  if (kind == Kind::kProcess) {
    context.process.RequestProcess(&call->server_context_, &call->io_, &queue, &queue, tag);
  } else {
    context.generic.RequestCall(&call->server_context_, &call->io_, &queue, &queue, tag);
  }
}

Call::Call(CallContext& context, grpc::ServerCompletionQueue& queue, Kind kind)
    : context_(context), queue_(queue), kind_(kind) {}

void Call::on_started(bool ok) {
  if (!ok) {  // the server stops; the done step does not come for a call that never started
    delete this;
    return;
  }
  await(context_, queue_, kind_);
  steps_ = 1;  // the done step
  const std::size_t others = context_.open.fetch_add(1);
  std::string peer = decoded(server_context_.peer());
  events_ = context_.traffic.find(peer);
  count_event();
  engine::StreamFactory* factory =
      kind_ == Kind::kProcess ? context_.process_factory : context_.services.find(server_context_.method());
  if (factory == nullptr) {
    refuse(grpc::StatusCode::UNIMPLEMENTED, "this server has no " + server_context_.method());
    return;
  }
  // Health must be answered even when there is no room for more.
  const std::size_t reserve = kind_ == Kind::kProcess ? 0 : kReservedOthers;
  if (others >= context_.max_streams + reserve) {
    context_.count(telemetry::Limit::kStreams);
    refuse(grpc::StatusCode::RESOURCE_EXHAUSTED,
           "server.limits.max_streams is " + std::to_string(context_.max_streams));
    return;
  }
  open_stream(*factory, peer);
}

void Call::count_event() {
  if (events_) events_->count.fetch_add(1, std::memory_order_relaxed);
}

void Call::count_unread(bool unread) {
  if (!events_ || std::exchange(unread_, unread) == unread) return;
  if (unread) {
    events_->unread.fetch_add(1, std::memory_order_relaxed);
  } else {
    count_event();  // what waited until now counts no more
    events_->unread.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Call::refuse(grpc::StatusCode code, const std::string& text) {
  over_ = true;
  final_status_.emplace(code, text);
  finish_now();
}

void Call::open_stream(engine::StreamFactory& factory, const std::string& peer) {
  const auto& received = server_context_.client_metadata();
  std::vector<engine::MetadataEntry> metadata;
  metadata.reserve(received.size());
  for (const auto& [name, value] : received) metadata.emplace_back(view(name), view(value));
  stream_ = factory.open(*this, {.peer = peer, .metadata = metadata});
  read_on();
}

std::shared_ptr<engine::Executor> Call::executor() {
  if (!executor_) executor_ = std::make_shared<CallExecutor>(queue_);
  return executor_;
}

/// Asks for what comes next, unless there is a reason not to. While nothing is asked for, gRPC's flow control holds the
/// peer back.
void Call::read_on() {
  if (over_ || reading_ || (read_closed_ && !held_)) return;
  const bool waits = held_ || stopped_ || unsent_ >= kMaxUnsent;
  count_unread(waits);
  if (waits) return;
  reading_ = true;
  ++steps_;
  Step* tag = &read_step_;
  io_.Read(&incoming_, tag);
}

void Call::on_read(bool ok) {
  reading_ = false;
  read_closed_ = !ok;
  if (ok) count_event();
  held_ = stopped_;
  if (!held_ && !over_) hand_over();
  read_on();
  step_over();
}

/// Gives the stream what was read.
void Call::hand_over() {
  if (read_closed_) {
    // The peer half-closed, or the call is lost: then the done step is on its way, and tells the stream.
    const bool lost = grpc_call_failed_before_recv_message(server_context_.c_call()) != 0;
    if (!lost) stream_->half_closed();
    return;
  }
  bool whole = false;
  engine::Message message = to_message(incoming_, whole);
  incoming_.Clear();
  if (!whole) return finish(absl::InternalError("a message could not be read"));
  stream_->receive(std::move(message));
}

void Call::resume_reading() {
  stopped_ = false;
  read_on();
  if (over_ || !held_) return;
  executor()->post([this] {
    if (stopped_ || !std::exchange(held_, false)) return;
    hand_over();
    read_on();
  });
}

void Call::set_timer(std::optional<engine::Clock::time_point> time) {
  if (over_ || (!time && !timer_)) return;
  if (!timer_) timer_ = std::make_unique<Timer>();
  timer_->due = time;
  if (!time) return;
  if (!timer_->rings_at) {
    set_alarm();
  } else if (*time < *timer_->rings_at) {
    timer_->alarm.Cancel();  // on_alarm() sets it again
  }
}

void Call::set_alarm() {
  timer_->rings_at = timer_->due;
  const auto left = std::max(*timer_->due - now(), engine::Clock::duration(0));
  const gpr_timespec wait =
      gpr_time_from_nanos(std::chrono::nanoseconds(left).count(), gpr_clock_type::GPR_TIMESPAN);
  ++steps_;
  Step* tag = &alarm_step_;
  timer_->alarm.Set(&queue_, gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), wait), tag);
}

void Call::on_alarm(bool) {
  timer_->rings_at.reset();
  if (!over_ && timer_->due) {
    if (*timer_->due > now()) {
      set_alarm();
    } else {
      timer_->due.reset();
      stream_->timer_fired();
    }
  }
  step_over();
}

void Call::send(const wire::Pieces& message) {
  if (over_ || broken_) return;
  unsent_ += message.size() + kUnsentOverhead;
  grpc::ByteBuffer buffer = to_buffer(message);
  if (!writing_) return write(buffer);
  if (!waiting_) waiting_ = std::make_unique<std::deque<grpc::ByteBuffer>>();
  waiting_->emplace_back().Swap(&buffer);
}

/// Takes the message; a ByteBuffer can be swapped, but not moved.
void Call::write(grpc::ByteBuffer& message) {
  writing_ = true;
  writing_now_.Swap(&message);
  ++steps_;
  Step* tag = &written_step_;
  io_.Write(writing_now_, tag);
}

void Call::on_written(bool ok) {
  writing_ = false;
  unsent_ -= writing_now_.Length() + kUnsentOverhead;
  if (!ok) {
    broken_ = true;
    waiting_.reset();
    unsent_ = 0;
  }
  if (waiting_ && !waiting_->empty()) {
    write(waiting_->front());
    waiting_->pop_front();
  } else if (final_status_ && !finishing_) {
    finish_now();
  }
  read_on();
  step_over();
}

void Call::finish(const absl::Status& status) {
  if (over_) return;
  over();
  final_status_ = to_grpc(status);
  if (!writing_) finish_now();
}

/// The stream gets no more calls.
void Call::over() {
  over_ = true;
  if (executor_) executor_->close();
  if (timer_) timer_->alarm.Cancel();
  count_unread(false);
}

void Call::finish_now() {
  finishing_ = true;
  ++steps_;
  Step* tag = &finished_step_;
  io_.Finish(*final_status_, tag);
}

void Call::on_finished(bool) { step_over(); }

void Call::on_done(bool) {
  if (!over_) {
    over();
    const bool by_us = context_.past_deadline.load();
    if (by_us) context_.cancelled.fetch_add(1);
    stream_->cancelled(by_us ? engine::Cancel::kShutdown : engine::Cancel::kPeer);
  }
  step_over();
}

void Call::step_over() {
  if (--steps_ > 0) return;
  stream_.reset();
  context_.stream_over();
  delete this;
}

}  // namespace extprocd::transport
