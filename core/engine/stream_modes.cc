// What a stream wants no more of: which body modes are asked for, and when it drains or ends.

#include <optional>
#include <utility>

#include "core/engine/stream.h"
#include "core/wire/body_mode.h"

namespace extprocd::engine {

using telemetry::EndReason;
using wire::BodyMode;

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
