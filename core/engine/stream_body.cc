// A stream's bodies: how they reach the plugins, and what of them goes on.

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/engine/phases.h"
#include "core/engine/stream.h"
#include "core/wire/body_mode.h"

namespace extprocd::engine {
namespace {

using telemetry::EndReason;
using telemetry::Limit;
using wire::BodyMode;

bool is_buffered(std::optional<BodyMode> mode) {
  return mode == BodyMode::kBuffered || mode == BodyMode::kBufferedPartial;
}

/// What plugins are told beside a body message.
uint32_t flags_of(std::optional<BodyMode> mode, bool end_of_stream) {
  uint32_t flags = end_of_stream ? EXTPROC_END_OF_STREAM | EXTPROC_END_OF_BODY : 0;
  // All that is sent comes in one message; with trailers behind it, or cut off, it does not say end_of_stream.
  if (is_buffered(mode)) flags |= EXTPROC_END_OF_BODY;
  if (mode == BodyMode::kBufferedPartial && !end_of_stream) flags |= EXTPROC_PARTIAL_BODY;
  return flags;
}

}  // namespace

PhaseResult Stream::judge_body_access(const Incoming& incoming) {
  Side& side = this->side(incoming.direction);
  const bool nothing_to_judge = chain_->body_access(incoming.direction) <= EXTPROC_ACCESS_OBSERVE ||
                                outbound_.observing() || std::exchange(side.judged, true);
  if (nothing_to_judge) return {};
  return chain_run_->refuse_body_access(incoming.direction, outbound_.body_mode(incoming.direction),
                                        may_override_modes_);
}

void Stream::on_body(const Incoming& incoming, bool end_of_stream) {
  const wire::Direction direction = incoming.direction;
  const wire::BodyView& message = incoming.scratch.view.body();
  Side& side = this->side(direction);
  side.body_came = true;
  if (!plugins_want(body_phase(direction))) {
    if (!has_room(outbound_.body(direction, exchange_, max_held_bytes(), incoming.scratch))) return;
  } else {
    if (stops(judge_body_access(incoming), incoming, Step::kBody)) return;
    const auto mode = outbound_.body_mode(direction);
    http::BodyBuffer body(mode == BodyMode::kGrpc);
    const bool is_message = !message.end_of_stream_without_message || !message.body.empty();
    if (is_message) body.add_borrowed(message.body, message.grpc_message_compressed);
    const bool headers_are_held = is_buffered(mode) && exchange_.map(headers_phase(direction))->present();
    if (!run_body(incoming, flags_of(mode, end_of_stream), headers_are_held, body)) return;
  }
  after_body(incoming);
}

/// A body message has been answered.
void Stream::after_body(const Incoming& incoming) {
  const wire::Direction direction = incoming.direction;
  Side& side = this->side(direction);
  if (direction == wire::Direction::kRequest && may_drain(/*with_request_headers=*/false)) {
    drains_ = true;
    outbound_.request_drain(incoming.scratch);
  }
  if (direction == wire::Direction::kResponse && !outbound_.headers_held(direction)) {
    response_ = Response::kReleased;
  }
  side.drained = drains_ && incoming.scratch.view.body().drain_complete;
  const auto is_through = [](const Side& each) { return each.drained || each.ended; };
  // What waits for window then goes out at the data plane's half-close.
  if (drains_ && is_through(sides_[0]) && is_through(sides_[1]) && !outbound_.has_waiting()) {
    finish(absl::OkStatus(), EndReason::kCompleted);
  }
}

/// Runs a body through the plugins and sends what goes on of it: in answer to the body message at hand, or before the
/// answer to trailers. `headers_are_held`: the data plane has them, though they have been answered. False: the stream is
/// over, a reply goes out, or it waits.
bool Stream::run_body(const Incoming& incoming, uint32_t flags, bool headers_are_held,
                      http::BodyBuffer& body) {
  const wire::Direction direction = incoming.direction;
  Side& side = this->side(direction);
  const bool answers_message = incoming.part == Part::kBody;
  const auto mode = outbound_.body_mode(direction);
  // Envoy takes pieces only once it has sent a body message itself. Where nothing is answered, nothing is lost.
  const bool carried =
      answers_message || (mode && wire::is_duplex(*mode) && side.body_came) || outbound_.observing();
  exchange_.headers_held[static_cast<std::size_t>(direction)] =
      headers_are_held || outbound_.headers_held(direction);
  side.told_end_of_body = (flags & EXTPROC_END_OF_BODY) != 0;
  PhaseResult result = chain_run_->run_body(body_phase(direction), flags, carried, body);
  exchange_.body = {};
  if (stops(std::move(result), incoming, answers_message ? Step::kBody : Step::kEndOfBody)) return false;
  return body_is_through(incoming, body);
}

/// Sends what the plugins let go on of a body. False: the stream is over.
bool Stream::body_is_through(const Incoming& incoming, http::BodyBuffer& body) {
  const wire::Direction direction = incoming.direction;
  Side& side = this->side(direction);
  const bool answers_message = incoming.part == Part::kBody;
  ask_for_time(incoming.scratch);
  if (side.told_end_of_body || !chain_run_->headers_wait(direction)) {
    let_headers_go(direction, incoming.scratch);
  }
  const Outbound::BodyAnswer answer{&body, chain_run_->body_touched(), answers_message};
  const bool sends = answers_message || !body.empty();
  const bool fits =
      !sends || outbound_.body(direction, exchange_, answer, max_held_bytes(), incoming.scratch);
  exchange_.headers_held[static_cast<std::size_t>(direction)] = false;
  return has_room(fits);
}

/// Ends the stream where more waits for the data plane than may.
bool Stream::has_room(bool fits) {
  if (!fits) {
    over_limit(Limit::kHeldBytes, "more body waits for the data plane than server.limits.max_held_bytes, " +
                                      std::to_string(max_held_bytes()));
  }
  return fits;
}

void Stream::on_trailers(const Incoming& incoming) {
  if (chain_->phases() != 0 && !end_body_before_trailers(incoming)) return;
  run_trailers(incoming);
}

void Stream::run_trailers(const Incoming& incoming) {
  if (chain_->phases() != 0) {
    exchange_.reply_possible = reply_possible(incoming.direction, Part::kTrailers);
    if (stops(chain_run_->run(incoming.phase, 0), incoming, Step::kTrailers)) return;
  }
  answer_trailers(incoming);
}

void Stream::answer_trailers(const Incoming& incoming) {
  if (chain_->phases() != 0) ask_for_time(incoming.scratch);
  outbound_.trailers(incoming.direction, exchange_, incoming.scratch);
  if (incoming.direction == wire::Direction::kResponse) response_ = Response::kReleased;
}

/// The trailers say that the body has ended, if nothing else did. False: the stream is over, a reply goes out, or it
/// waits.
bool Stream::end_body_before_trailers(const Incoming& incoming) {
  const wire::Direction direction = incoming.direction;
  const auto mode = outbound_.body_mode(direction);
  const Side& side = this->side(direction);
  const bool was_told = side.told_end_of_body || side.no_body || mode == BodyMode::kNone;
  if (plugins_want(body_phase(direction)) && !was_told) {
    http::BodyBuffer body(mode == BodyMode::kGrpc);
    exchange_.reply_possible = reply_possible(direction, Part::kBody);
    if (!run_body(incoming, EXTPROC_END_OF_BODY, /*headers_are_held=*/false, body)) return false;
  }
  let_headers_go(direction, incoming.scratch);
  return true;
}

/// Sends the headers reply that waited for the body.
void Stream::let_headers_go(wire::Direction direction, Scratch& scratch) {
  if (!outbound_.headers_held(direction)) return;
  chain_run_->stop_waiting(direction);
  send_headers(direction, /*end_of_stream=*/false, scratch);
}

bool Stream::headers_can_wait(const Incoming& incoming, bool end_of_stream) {
  if (!chain_run_->headers_wait(incoming.direction)) return false;
  // Of the modes that hold nothing back only this one sends the body before the headers are answered; an upgrade
  // (WebSocket, CONNECT) has no body before the other side has answered.
  const bool can = outbound_.body_mode(incoming.direction) == BodyMode::kFullDuplexStreamed &&
                   !end_of_stream && !outbound_.observing() && !is_upgrade() &&
                   exchange_.replacement_body == nullptr;
  if (!can) chain_run_->stop_waiting(incoming.direction);
  return can;
}

bool Stream::is_upgrade() {
  const http::HeaderMap& request = *exchange_.map(EXTPROC_REQUEST_HEADERS);
  const http::HeaderMap& response = *exchange_.map(EXTPROC_RESPONSE_HEADERS);
  return request.first("upgrade") || request.first(":protocol") || request.first(":method") == "CONNECT" ||
         response.first(":status") == "101";
}

}  // namespace extprocd::engine
