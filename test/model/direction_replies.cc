// What a direction makes of a reply: whether it is legal now, and what goes on because of it.

#include <utility>

#include "test/model/direction_model.h"

namespace extprocd::model {

bool DirectionModel::strips_content_length() const {
  if (filter_.allow_content_length_header || filter_.grpc_data_plane || filter_.observability_mode)
    return false;
  switch (mode_.body) {
    case ProcessingMode::NONE:
      return false;
    case ProcessingMode::BUFFERED:
      return !mode_.send_headers;
    default:
      return true;
  }
}

Judgement DirectionModel::apply_to_held_headers(const CommonResponse& reply, bool replacing) {
  if (!reply.has_header_mutation()) return {};
  if (passed_.headers) {
    Judgement late;
    late.ignored.emplace_back("a header mutation when the headers are gone");
    return late;
  }
  const MutationPlace place{.request_headers = side_ == Side::kRequest,
                            .response_headers = side_ == Side::kResponse,
                            .replacing = replacing,
                            .strips_content_length = strips_content_length(),
                            .grpc_data_plane = filter_.grpc_data_plane};
  return apply(reply.header_mutation(), place, headers_);
}

void DirectionModel::judge_route_cache(const CommonResponse& reply, Judgement& judgement) const {
  if (!reply.clear_route_cache()) return;
  if (side_ == Side::kResponse) judgement.ignored.emplace_back("clear_route_cache of a response");
  if (!reply.has_header_mutation())
    judgement.ignored.emplace_back("clear_route_cache without a header mutation");
}

Judgement DirectionModel::headers_reply(const CommonResponse& reply) {
  if (state_ != State::kHeaders) return refused(Verdict::kSpurious, "a headers reply that nobody waits for");
  const bool replace = reply.status() == CommonResponse::CONTINUE_AND_REPLACE;
  if (replace && mode_.body == ProcessingMode::GRPC) {
    return refused(Verdict::kReplaceUnsupported, "CONTINUE_AND_REPLACE in GRPC mode");
  }
  Judgement judgement = apply_to_held_headers(reply, replace);
  if (!judgement.accepted()) return judgement;
  judge_route_cache(reply, judgement);
  if (reply.has_trailers()) judgement.ignored.emplace_back("trailers in a CommonResponse");
  state_ = State::kIdle;
  if (replace) return replace_message(reply, std::move(judgement));
  if (reply.has_body_mutation())
    judgement.ignored.emplace_back("a body mutation without CONTINUE_AND_REPLACE");
  go_on_after_headers();
  return judgement;
}

/// From here on nothing of this direction is sent, and what was sent gets no reply.
Judgement DirectionModel::replace_message(const CommonResponse& reply, Judgement judgement) {
  if (reply.has_body_mutation()) {
    if (reply.body_mutation().has_streamed_response())
      judgement.ignored.emplace_back("streamed_response that replaces");
    remove_all(headers_, "content-length");
    pass_headers();
    pass_body(reply.body_mutation().body());
    replaced_ = true;
  } else {
    pass_headers();
    for (const auto& chunk : chunks_) pass_body(chunk);
    if (buffered_) pass_body(*buffered_);
  }
  chunks_.clear();
  buffered_.reset();
  bypass_ = true;
  mode_.send_trailers = false;
  if (trailers_arrived_) {
    pass_trailers();
  } else if (complete_) {
    pass_end();
  }
  return judgement;
}

void DirectionModel::go_on_after_headers() {
  if (no_body_) {
    pass_headers();
    pass_end();
    return;
  }
  if (duplex()) {
    pass_headers();
    if (buffered_) {  // came before a mode_override made it full duplex
      send_body(*std::exchange(buffered_, std::nullopt), complete_ && !trailers_arrived_);
      body_sent_ = true;
      if (trailers_arrived_ && mode_.send_trailers) send_trailers();
    }
    if (body_sent_) state_ = State::kStreamedBody;
    if (trailers_arrived_ && !trailers_sent_ && !body_sent_) pass_trailers();
    return;
  }
  if (!chunks_.empty()) {  // sent without waiting
    pass_headers();
    state_ = State::kStreamedBody;
    return;
  }
  if (mode_.body == ProcessingMode::NONE) {
    pass_headers();
    if (buffered_) pass_body(*std::exchange(buffered_, std::nullopt));
    if (complete_) go_on_after_body();
    return;
  }
  // The whole body is in: it goes as one message, whatever the mode, and the headers wait for its reply.
  if (complete_ && buffered_) return send_buffered(State::kBufferedBody, !trailers_arrived_);
  if (complete_) return go_on_after_body();
  if (mode_.body == ProcessingMode::STREAMED) {
    pass_headers();
    if (!buffered_) return;
    chunks_.push_back(*std::exchange(buffered_, std::nullopt));
    state_ = State::kStreamedBody;
    send_body(chunks_.back(), false);
  } else if (mode_.body == ProcessingMode::BUFFERED_PARTIAL && buffered_ &&
             buffered_->size() > filter_.buffer_limit) {
    send_buffered(State::kBufferedPartialBody, false);
  }
}

/// The body is dealt with, as far as it has come.
void DirectionModel::go_on_after_body() {
  if (!trailers_arrived_) {
    if (complete_) {
      pass_headers();
      pass_end();
    }
    return;
  }
  if (!mode_.send_trailers) return pass_trailers();
  send_trailers();
  state_ = State::kTrailers;
}

Judgement DirectionModel::body_reply(const CommonResponse& reply) {
  switch (state_) {
    case State::kStreamedBody:
      return duplex() ? duplex_body_reply(reply) : chunk_reply(reply);
    case State::kBufferedBody:
    case State::kBufferedPartialBody:
      return held_body_reply(reply);
    default:
      return refused(Verdict::kSpurious, "a body reply that nobody waits for");
  }
}

Judgement DirectionModel::take_from_reply_window(std::size_t bytes) {
  if (!filter_.windows || !counts_ || bytes == 0) return {};
  const auto size = static_cast<std::int64_t>(bytes);
  const bool fits = mode_.body == ProcessingMode::GRPC ? reply_window_ > 0 : reply_window_ > size;
  if (!fits) {
    return refused(Verdict::kFlowControl,
                   std::to_string(bytes) + " bytes for a window of " + std::to_string(reply_window_));
  }
  reply_window_ -= size;
  to_give_back_ += size;
  return {};
}

std::int64_t DirectionModel::give_back() {
  reply_window_ += to_give_back_;
  return std::exchange(to_give_back_, 0);
}

Judgement DirectionModel::duplex_body_reply(const CommonResponse& reply) {
  const bool grpc = mode_.body == ProcessingMode::GRPC;
  if (!reply.body_mutation().has_streamed_response()) {
    return refused(Verdict::kSpurious, "a body reply without streamed_response in a mode that demands it");
  }
  if (grpc && reply.status() != CommonResponse::CONTINUE) {
    return refused(Verdict::kReplaceUnsupported, "a status other than CONTINUE in GRPC mode");
  }
  if (grpc && reply.has_header_mutation())
    return refused(Verdict::kSpurious, "a header mutation in a GRPC body reply");
  const StreamedBody& piece = reply.body_mutation().streamed_response();
  if (grpc && piece.grpc_message_compressed())
    return refused(Verdict::kSpurious, "a compressed gRPC message");
  if (piece.end_of_stream() && grpc && side_ == Side::kResponse) {
    return refused(Verdict::kEndOfStream,
                   "end_of_stream towards a gRPC client, whose stream ends with trailers");
  }
  if (piece.end_of_stream() && incoming_.trailers) {
    return refused(Verdict::kEndOfStream, "end_of_stream, but the trailers' reply is the end");
  }
  if (piece.end_of_stream_without_message() && (!grpc || !piece.end_of_stream() || !piece.body().empty())) {
    return refused(Verdict::kEndOfStream, "end_of_stream_without_message that is none");
  }
  if (Judgement window = take_from_reply_window(piece.body().size()); !window.accepted()) return window;

  Judgement judgement;
  if (reply.has_header_mutation())
    judgement.ignored.emplace_back("a header mutation when the headers are gone");
  judge_route_cache(reply, judgement);
  if (piece.drain_complete()) judgement.ignored.emplace_back("drain_complete without a drain");
  pass_body(piece.body());
  if (grpc && !piece.end_of_stream_without_message()) passed_.grpc_messages.push_back(piece.body());
  if (piece.end_of_stream()) {
    ended_by_server_ = true;
    state_ = State::kIdle;
    pass_end();
  }
  return judgement;
}

Judgement DirectionModel::held_body_reply(const CommonResponse& reply) {
  const bool headers_held = !passed_.headers;
  Judgement judgement = apply_to_held_headers(reply, reply.status() == CommonResponse::CONTINUE_AND_REPLACE);
  if (!judgement.accepted()) return judgement;
  judge_route_cache(reply, judgement);
  if (reply.has_body_mutation()) {
    const auto& mutation = reply.body_mutation();
    const bool changes = mutation.has_body() || mutation.clear_body();
    if (!changes) judgement.ignored.emplace_back("a body mutation that changes nothing");
    const std::string body = mutation.body();
    const auto length = first_value(headers_, "content-length");
    if (mode_.body == ProcessingMode::BUFFERED && headers_held && !strips_content_length() && length &&
        *length != std::to_string(body.size())) {
      return refused(Verdict::kContentLength,
                     "content-length " + *length + ", body of " + std::to_string(body.size()));
    }
    if (changes) buffered_ = body;
  }
  pass_headers();
  pass_body(*std::exchange(buffered_, std::nullopt));
  pass_body(std::exchange(rest_, {}));
  partial_done_ = true;
  state_ = State::kIdle;
  if (complete_) go_on_after_body();
  return judgement;
}

Judgement DirectionModel::chunk_reply(const CommonResponse& reply) {
  const auto& mutation = reply.body_mutation();
  if (mutation.has_streamed_response())
    return refused(Verdict::kSpurious, "streamed_response outside full duplex");
  Judgement judgement;
  if (reply.has_header_mutation())
    judgement.ignored.emplace_back("a header mutation when the headers are gone");
  judge_route_cache(reply, judgement);
  std::string chunk = std::move(chunks_.front());
  chunks_.pop_front();
  if (mutation.has_body() || mutation.clear_body()) chunk = mutation.body();
  pass_body(chunk);
  if (!chunks_.empty()) return judgement;
  state_ = State::kIdle;
  if (complete_) go_on_after_body();
  return judgement;
}

Judgement DirectionModel::trailers_reply(const HeaderMutation& mutation) {
  const bool waited_for = duplex() ? trailers_sent_ && !trailers_answered_ && state_ != State::kHeaders
                                   : state_ == State::kTrailers;
  if (!waited_for || bypass_) return refused(Verdict::kSpurious, "a trailers reply that nobody waits for");
  Judgement judgement = apply(mutation, MutationPlace{.grpc_data_plane = filter_.grpc_data_plane}, trailers_);
  if (!judgement.accepted()) return judgement;
  trailers_answered_ = true;
  state_ = State::kIdle;
  pass_trailers();
  return judgement;
}

void DirectionModel::stop() {
  if (std::exchange(bypass_, true)) return;
  state_ = State::kIdle;
  if (!headers_arrived_ || passed_.ended) return;
  pass_headers();
  for (const auto& chunk : chunks_) pass_body(chunk);
  chunks_.clear();
  if (buffered_) pass_body(*std::exchange(buffered_, std::nullopt));
  pass_body(std::exchange(rest_, {}));
  if (trailers_arrived_) {
    pass_trailers();
  } else if (complete_) {
    pass_end();
  }
}

std::vector<std::string> DirectionModel::owed() const {
  const std::string side = side_ == Side::kRequest ? "request " : "response ";
  if (filter_.observability_mode || bypass_) return {};
  std::vector<std::string> owed;
  // In full duplex the headers may wait for a body, which then does not come any more.
  if (state_ == State::kHeaders && !(duplex() && abandoned_)) owed.push_back(side + "headers");
  if (state_ == State::kBufferedBody || state_ == State::kBufferedPartialBody) owed.push_back(side + "body");
  for (std::size_t i = 0; i < chunks_.size(); ++i) owed.push_back(side + "body chunk");
  if (state_ == State::kTrailers) owed.push_back(side + "trailers");
  if (!duplex()) return owed;
  if (trailers_sent_ && !trailers_answered_) owed.push_back(side + "trailers");
  const bool end_is_owed = body_sent_ && complete_ && !trailers_arrived_ && !ended_by_server_ && !abandoned_;
  if (end_is_owed) owed.push_back(side + "streamed_response with end_of_stream");
  return owed;
}

void DirectionModel::pass_headers() {
  if (passed_.headers) return;
  if (strips_content_length()) remove_all(headers_, "content-length");
  passed_.headers = headers_;
}

void DirectionModel::pass_body(std::string_view data) { passed_.body += data; }

void DirectionModel::pass_trailers() {
  pass_headers();
  passed_.trailers = trailers_;
  passed_.ended = true;
}

}  // namespace extprocd::model
