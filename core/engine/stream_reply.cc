// Local replies in pieces.

#include <memory>
#include <string>
#include <utility>

#include "core/engine/stream.h"

namespace extprocd::engine {

using telemetry::EndReason;

void Stream::begin_reply_in_pieces(LocalReply reply, Scratch& scratch) {
  const bool body_comes =
      outbound_.body_mode(wire::Direction::kRequest) == wire::BodyMode::kFullDuplexStreamed &&
      !side(wire::Direction::kRequest).no_body;
  // Without a body message to come, there will be no callback to write more in.
  if (!body_comes || !chain_run_->reply_wants_body() || outbound_.observing()) reply.complete = true;
  const bool complete = reply.complete;
  if (exchange_.replies_in_pieces) {
    exchange_.local_reply_status = reply.status;
    outbound_.begin_in_pieces(reply, exchange_, scratch);
  } else if (complete) {
    reply_and_stop(reply, scratch);
    return;
  } else {
    gathered_ = std::make_unique<LocalReply>(std::move(reply));
  }
  if (complete) {
    stop_after_reply();
  } else {
    state_ = State::kReplying;
  }
}

void Stream::go_on_replying(const Incoming& incoming) {
  if (incoming.direction != wire::Direction::kRequest || incoming.part == Part::kHeaders) return;
  const wire::BodyView& message = incoming.scratch.view.body();
  const bool end = incoming.part == Part::kTrailers || message.end_of_stream;
  http::BodyBuffer body;
  if (incoming.part == Part::kBody) body.add_borrowed(message.body);
  LocalReply piece;
  PhaseResult result = chain_run_->run_reply_in_pieces(end ? EXTPROC_END_OF_BODY : 0, body, piece);
  if (result.kind == PhaseResult::Kind::kFail) {
    finish(result.failure, EndReason::kFailed);
    return;
  }
  piece.complete = piece.complete || end;
  if (gathered_ == nullptr) {
    outbound_.one_more_piece(piece, incoming.scratch);
    if (piece.complete) stop_after_reply();
    return;
  }
  const uint64_t most = generation_->config.server.limits.max_held_bytes;
  if (gathered_->body.size() + piece.body.size() > most) {
    over_limit(telemetry::Limit::kHeldBytes,
               "a reply in pieces that has to go out as one is larger than server.limits.max_held_bytes, " +
                   std::to_string(most));
    return;
  }
  gathered_->body += piece.body;
  if (piece.complete) reply_and_stop(*gathered_, incoming.scratch);
}

}  // namespace extprocd::engine
