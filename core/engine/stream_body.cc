// A stream's bodies: how they reach the plugins, what of them goes on, and which body modes are asked for.

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/engine/stream.h"
#include "core/wire/body_mode.h"

namespace extprocd::engine {
namespace {

using telemetry::EndReason;
using telemetry::Limit;
using wire::BodyMode;

uint32_t body_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_BODY : EXTPROC_RESPONSE_BODY;
}
uint32_t headers_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS;
}

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
    if (is_over(judge_body_access(incoming), incoming.scratch)) return;
    const auto mode = outbound_.body_mode(direction);
    http::BodyBuffer body(mode == BodyMode::kGrpc);
    const bool is_message = !message.end_of_stream_without_message || !message.body.empty();
    if (is_message) body.add_borrowed(message.body, message.grpc_message_compressed);
    const bool headers_are_held = is_buffered(mode) && exchange_.map(headers_phase(direction))->present();
    if (!run_body(incoming, flags_of(mode, end_of_stream), headers_are_held, body)) return;
  }
  if (direction == wire::Direction::kRequest && may_drain(/*with_request_headers=*/false)) {
    drains_ = true;
    outbound_.request_drain(incoming.scratch);
  }
  if (direction == wire::Direction::kResponse && !outbound_.headers_held(direction)) {
    response_ = Response::kReleased;
  }
  side.drained = drains_ && message.drain_complete;
  const auto is_through = [](const Side& each) { return each.drained || each.ended; };
  // What waits for window then goes out at the data plane's half-close.
  if (drains_ && is_through(sides_[0]) && is_through(sides_[1]) && !outbound_.has_waiting()) {
    finish(absl::OkStatus(), EndReason::kCompleted);
  }
}

/// Runs a body through the plugins and sends what goes on of it: in answer to the body message at hand, or before the
/// answer to trailers. `headers_are_held`: the data plane has them, though they have been answered. False: the stream is
/// over, or a reply goes out.
bool Stream::run_body(const Incoming& incoming, uint32_t flags, bool headers_are_held,
                      http::BodyBuffer& body) {
  const wire::Direction direction = incoming.direction;
  Side& side = this->side(direction);
  const bool answers_message = incoming.part == Part::kBody;
  const auto mode = outbound_.body_mode(direction);
  // Envoy takes pieces only once it has sent a body message itself. Where nothing is answered, nothing is lost.
  const bool carried =
      answers_message || (mode && wire::is_duplex(*mode) && side.body_came) || outbound_.observing();
  bool& held = exchange_.headers_held[static_cast<std::size_t>(direction)];
  held = headers_are_held || outbound_.headers_held(direction);
  side.told_end_of_body = (flags & EXTPROC_END_OF_BODY) != 0;
  PhaseResult result = chain_run_->run_body(body_phase(direction), flags, carried, body);
  exchange_.body = {};
  if (is_over(std::move(result), incoming.scratch)) return false;
  ask_for_time(incoming.scratch);
  if (side.told_end_of_body || !chain_run_->headers_wait(direction)) {
    let_headers_go(direction, incoming.scratch);
  }
  const Outbound::BodyAnswer answer{&body, chain_run_->body_touched(), answers_message};
  const bool sends = answers_message || !body.empty();
  const bool fits =
      !sends || outbound_.body(direction, exchange_, answer, max_held_bytes(), incoming.scratch);
  held = false;
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
  const wire::Direction direction = incoming.direction;
  if (chain_->phases() != 0) {
    if (!end_body_before_trailers(incoming)) return;
    exchange_.reply_possible = reply_possible(direction, Part::kTrailers);
    if (is_over(chain_run_->run(incoming.phase, 0), incoming.scratch)) return;
    ask_for_time(incoming.scratch);
  }
  outbound_.trailers(direction, exchange_, incoming.scratch);
  if (direction == wire::Direction::kResponse) response_ = Response::kReleased;
}

/// The trailers say that the body has ended, if nothing else did. False: the stream is over, or a reply goes out.
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

void Stream::set_body_mode(wire::Direction direction, BodyMode mode) {
  outbound_.assume_body_mode(direction, mode);
  (direction == wire::Direction::kRequest ? exchange_.facts.request_body_mode
                                          : exchange_.facts.response_body_mode) = static_cast<uint32_t>(mode);
}

/// Modes that the data plane did not tell are what the operator says that they are.
void Stream::assume_stated_modes() {
  if (outbound_.observing()) return;
  const config::DataPlane& stated = chain_->data_plane();
  for (const auto& [direction, mode] : {std::pair(wire::Direction::kRequest, stated.request_body_mode),
                                        std::pair(wire::Direction::kResponse, stated.response_body_mode)}) {
    if (mode && !outbound_.body_mode(direction)) set_body_mode(direction, *mode);
  }
}

/// Envoy heeds a mode_override only where no body mode was configured as full duplex and the body waits for the headers
/// reply. What an earlier override made of them does not count.
bool Stream::may_override_modes() const {
  const auto request = outbound_.body_mode(wire::Direction::kRequest);
  const auto response = outbound_.body_mode(wire::Direction::kResponse);
  return chain_->data_plane().allow_mode_override && !outbound_.observing() && !outbound_.grpc_data_plane() &&
         !body_does_not_wait_ && request && response && !wire::is_duplex(*request) &&
         !wire::is_duplex(*response);
}

/// The mode that suits the plugins that need a direction's body: one that suits already is kept.
BodyMode Stream::wished_mode(wire::Direction direction) {
  const BodyMode mode = *outbound_.body_mode(direction);
  const uint32_t need = chain_run_->body_need(direction);
  if (need == EXTPROC_ACCESS_NONE) return BodyMode::kNone;
  if (mode != BodyMode::kNone) return mode;
  if (need == EXTPROC_ACCESS_STREAM) return BodyMode::kFullDuplexStreamed;
  return need == EXTPROC_ACCESS_WHOLE ? BodyMode::kBuffered : BodyMode::kStreamed;
}

std::optional<wire::ModeOverride> Stream::choose_modes(const Incoming& incoming) {
  if (!may_override_modes_ || exchange_.replacement_body != nullptr) return std::nullopt;
  wire::ModeOverride modes;
  modes.request_body = *outbound_.body_mode(wire::Direction::kRequest);
  modes.response_body = *outbound_.body_mode(wire::Direction::kResponse);
  const wire::ModeOverride before = modes;
  if (incoming.direction == wire::Direction::kRequest) {
    if (!side(wire::Direction::kRequest).no_body) modes.request_body = wished_mode(wire::Direction::kRequest);
    // Whether the response's body is needed is known with its headers, unless nobody asks for it at all.
    if (!chain_run_->wants(EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY))) modes.response_body = BodyMode::kNone;
    constexpr uint32_t kResponse = EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) |
                                   EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY) |
                                   EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS);
    if (!chain_run_->wants(kResponse)) modes.response_headers = wire::SendMode::kSkip;
  } else if (!side(wire::Direction::kResponse).no_body) {
    modes.response_body = wished_mode(wire::Direction::kResponse);
  }
  const bool changes = modes.request_body != before.request_body ||
                       modes.response_body != before.response_body ||
                       modes.response_headers != before.response_headers;
  // Where nothing is needed at all the stream ends, and no body is sent either.
  const bool a_body_is_needed =
      (modes.request_body != BodyMode::kNone && !side(wire::Direction::kRequest).ended) ||
      modes.response_body != BodyMode::kNone;
  if (!changes || (!a_body_is_needed && nobody_wants_more())) return std::nullopt;
  // Envoy wants the trailers where it streams in full duplex.
  if (modes.request_body == BodyMode::kFullDuplexStreamed) modes.request_trailers = wire::SendMode::kSend;
  if (modes.response_body == BodyMode::kFullDuplexStreamed) modes.response_trailers = wire::SendMode::kSend;
  set_body_mode(wire::Direction::kRequest, modes.request_body);
  set_body_mode(wire::Direction::kResponse, modes.response_body);
  return modes;
}

/// EXTPROC_PHASE_BIT of phases whose messages may still come.
uint32_t Stream::phases_to_come() const {
  uint32_t phases = 0;
  const auto add = [&](wire::Direction direction, uint32_t headers, uint32_t body, uint32_t trailers) {
    const Side& of = side(direction);
    if (of.ended || of.order.closed() || of.drained) return;
    if (!of.seen) phases |= EXTPROC_PHASE_BIT(headers);
    const bool may_be_asked_for = !of.seen && may_override_modes_;
    if (outbound_.body_mode(direction) != BodyMode::kNone || may_be_asked_for)
      phases |= EXTPROC_PHASE_BIT(body);
    phases |= EXTPROC_PHASE_BIT(trailers);
  };
  add(wire::Direction::kRequest, EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY, EXTPROC_REQUEST_TRAILERS);
  add(wire::Direction::kResponse, EXTPROC_RESPONSE_HEADERS, EXTPROC_RESPONSE_BODY, EXTPROC_RESPONSE_TRAILERS);
  return phases;
}

bool Stream::nobody_wants_more() {
  return !chain_run_->wants(phases_to_come()) && !chain_run_->holds_bytes();
}

/// Bodies of a gRPC data plane, which holds no copy of them, are lost if the stream just ends. To be asked where a request's
/// message is answered; `with_request_headers`: in their answer.
bool Stream::may_drain(bool with_request_headers) {
  if (drains_ || !chain_run_ || !outbound_.grpc_data_plane() || outbound_.observing()) return false;
  const bool holds_headers =
      outbound_.headers_held(wire::Direction::kRequest) || outbound_.headers_held(wire::Direction::kResponse);
  constexpr uint32_t kBodies =
      EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY);
  const bool spares_nothing = (phases_to_come() & kBodies) == 0;
  if (holds_headers || spares_nothing || !chain_->data_plane().early_end) return false;
  // What grpc-go has sent of a response's body, empty messages even without window, it takes back no more. Before it has
  // the reply to request headers it calls nobody.
  const bool loses_nothing =
      with_request_headers || outbound_.body_mode(wire::Direction::kResponse) != BodyMode::kGrpc;
  return loses_nothing && nobody_wants_more();
}

/// To grpc-go an answer to anything of the response is a fault once it was asked to drain.
bool Stream::is_past_drain(wire::Direction direction) const {
  const bool has_grpc_bodies = outbound_.body_mode(wire::Direction::kRequest) == BodyMode::kGrpc ||
                               outbound_.body_mode(wire::Direction::kResponse) == BodyMode::kGrpc;
  return drains_ && has_grpc_bodies && direction == wire::Direction::kResponse;
}

/// Ends a stream of which no plugin wants more, if that spares the data plane a round trip and loses nothing.
void Stream::end_early() {
  if (!chain_->data_plane().early_end || outbound_.observing() || outbound_.grpc_data_plane()) return;
  const auto request = outbound_.body_mode(wire::Direction::kRequest);
  const auto response = outbound_.body_mode(wire::Direction::kResponse);
  // Without a copy in the data plane, body pieces that are on their way would be lost.
  if (!request || !response || wire::is_duplex(*request) || wire::is_duplex(*response)) return;
  constexpr uint32_t kTrailers =
      EXTPROC_PHASE_BIT(EXTPROC_REQUEST_TRAILERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS);
  const uint32_t to_come = phases_to_come();
  if ((to_come & ~kTrailers) == 0 || !nobody_wants_more()) return;
  metrics_.ended_early.add();
  finish(absl::OkStatus(), EndReason::kCompleted);
}

}  // namespace extprocd::engine
