// A stream that waits for a plugin: what it keeps meanwhile, until when, and how it goes on.

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/engine/callback.h"
#include "core/engine/stream.h"

namespace extprocd::engine {
namespace {

using Time = std::optional<Clock::time_point>;

Time earliest(std::initializer_list<Time> times) {
  Time first;
  for (const Time& time : times) {
    if (time && (!first || *time < *first)) first = time;
  }
  return first;
}

bool has_come(const Time& time, Clock::time_point now) { return time && *time <= now; }

}  // namespace

void Stream::wait_for_plugin(const Incoming& incoming, Step step) {
  ask_for_time(incoming.scratch);
  pending_ = std::make_unique<Pending>();
  pending_->step = step;
  pending_->came = incoming.came;
  metrics_.waiting.begin();
}

/// Keeps the message whose handling waits.
void Stream::stand_still(Message message) {
  message.own();
  pending_->message = std::move(message);
  sink_.pause_reading();
  set_timer();
}

void Stream::forget_pending() {
  if (pending_ == nullptr) return;
  pending_.reset();
  metrics_.waiting.end();
}

void Stream::resumed(const Suspensions& plugin, Suspensions::Handle handle, uint64_t token) {
  if (pending_ == nullptr) return;  // it was given up meanwhile
  if (!chain_run_->waits_for(plugin, handle)) return chain_run_->note_resume(plugin, handle, token);
  go_on([&](http::BodyBuffer& body) { return chain_run_->resume(token, body); });
}

void Stream::timer_fired() {
  if (pending_ == nullptr || chain_run_->has_returned()) return;
  const Clock::time_point now = sink_.now();
  if (has_come(time_to_ask(), now)) ask_for_the_rest_of_the_time(now);
  const Time until = chain_run_->waits_until();
  const Time last = earliest({until, deadline()});
  const Time timer = chain_run_->resume_time();
  if (has_come(timer, now) && timer == earliest({timer, last})) {
    const auto token = chain_run_->take_resume_timer();
    if (token) return go_on([&](http::BodyBuffer& body) { return chain_run_->resume(*token, body); });
  } else if (has_come(last, now)) {
    std::string why = last == until
                          ? chain_run_->too_late()
                          : "did not answer before the chain's deadline, " + to_text(chain_->deadline());
    return go_on([&](http::BodyBuffer& body) { return chain_run_->give_up(std::move(why), body); });
  }
  set_timer();
}

/// Goes on with the message that waited. `with_chain` has the rest of its phase run.
template <typename GoOn>
void Stream::go_on(GoOn with_chain) {
  const std::unique_ptr<Pending> pending = std::move(pending_);
  metrics_.waiting.end();
  const ScratchLease lease;
  Scratch& scratch = *lease;
  const std::size_t most = std::size_t{generation_->config.server.limits.max_headers} + 1;
  if (const absl::Status parsed = scratch.view.parse(pending->message.bytes(), most); !parsed.ok()) {
    return protocol_error(parsed);  // it was parsed before, so this cannot be
  }
  scratch.writer.set_grpc_data_plane(outbound_.grpc_data_plane());
  const Incoming incoming = this->incoming(pending->came, scratch);
  http::BodyBuffer body(outbound_.body_mode(incoming.direction) == wire::BodyMode::kGrpc);
  PhaseResult result = with_chain(body);
  take_up(incoming, pending->step, std::move(result), body);
  if (pending_ != nullptr) {
    pending_->message = std::move(pending->message);
    return set_timer();
  }
  answered(incoming);
  if (state_ == State::kOpen) end_early();
  if (state_ == State::kOver) return;
  sink_.set_timer({});
  sink_.resume_reading();
}

/// Does with a phase what the handling of its message was about to do.
void Stream::take_up(const Incoming& incoming, Step step, PhaseResult result, http::BodyBuffer& body) {
  if (stops(std::move(result), incoming, step)) return;
  switch (step) {
    case Step::kHeaders:
      answer_headers(incoming, incoming.scratch.view.end_of_stream());
      break;
    case Step::kBody:
      if (body_is_through(incoming, body)) after_body(incoming);
      break;
    case Step::kEndOfBody:
      if (body_is_through(incoming, body)) run_trailers(incoming);
      break;
    case Step::kTrailers:
      answer_trailers(incoming);
      break;
  }
}

void Stream::set_timer() {
  sink_.set_timer(
      earliest({time_to_ask(), chain_run_->resume_time(), chain_run_->waits_until(), deadline()}));
}

/// Until when the message that waits is to be answered.
std::optional<Clock::time_point> Stream::deadline() const {
  if (chain_->deadline() == Duration::zero()) return std::nullopt;
  return pending_->came + chain_->deadline();
}

/// When the data plane is to be asked to wait longer than it usually does.
std::optional<Clock::time_point> Stream::time_to_ask() const {
  const Duration usual = to_duration(chain_->data_plane().message_timeout);
  const bool can_ask = exchange_.longest_timeout > 0 && !exchange_.time_asked_for && usual > Duration::zero();
  if (!can_ask || chain_->deadline() <= usual) return std::nullopt;
  return pending_->came + usual / 2;
}

void Stream::ask_for_the_rest_of_the_time(Clock::time_point now) {
  constexpr int kShareForTheWay = 10;
  const Duration usual = to_duration(chain_->data_plane().message_timeout);
  const Duration wanted = *deadline() - now + usual / kShareForTheWay;
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(wanted).count();
  exchange_.extended_timeout =
      static_cast<uint32_t>(std::clamp<int64_t>(millis, 1, exchange_.longest_timeout));
  const ScratchLease scratch;
  ask_for_time(*scratch);
}

}  // namespace extprocd::engine
