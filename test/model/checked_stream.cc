#include <algorithm>
#include <utility>

#include "test/model/conversation.h"

namespace extprocd::model {

using Answer = CheckedStream::ProcessingResponse;

void CheckedStream::Sink::send(const wire::Pieces& message) {
  if (status) wrong = "a message after finish";
  Answer reply;
  if (!reply.ParseFromString(message.joined())) wrong = "a reply that cannot be read";
  of_message.push_back(reply);
  replies.push_back(std::move(reply));
}

void CheckedStream::Sink::finish(const absl::Status& end) {
  if (status) wrong = "finished twice";
  status = end;
}

void CheckedStream::Sink::pause_reading() {
  if (std::exchange(paused, true)) wrong = "paused twice";
}

void CheckedStream::Sink::resume_reading() {
  if (!std::exchange(paused, false)) wrong = "reads on, but was not paused";
}

CheckedStream::CheckedStream(PlannedChain& chain, std::uint64_t id, bool flow_control, Coverage& coverage)
    : chain_(chain),
      id_(id),
      flow_control_(flow_control),
      coverage_(coverage),
      stream_(std::make_unique<engine::Stream>(chain.generation(), sink_,
                                               engine::StreamFacts{.peer = "model"}, id)),
      reference_(chain.plans(), chain.setup()) {
  chain_.notes(id_).time = &sink_.time;
}

Time CheckedStream::now() const {
  return static_cast<Time>(
      std::chrono::duration_cast<std::chrono::milliseconds>(sink_.time - kBegin).count());
}

void CheckedStream::receive(const std::string& bytes) {
  envoy::service::ext_proc::v3::ProcessingRequest message;
  const bool read = message.ParseFromString(bytes);
  std::string text = read ? message.ShortDebugString() : readable(bytes);
  if (text.size() > 400) text = text.substr(0, 400) + "…";
  note(read ? "-> " + text : "-> garbage " + text);
  if (sink_.status) return;  // a transport gives nothing to a stream that is over
  if (waits()) return is_wrong("the test hands over a message though the stream does not read");
  sink_.of_message.clear();
  noted_ = 0;
  const Owed owed = reference_.receive(bytes, now());
  stream_->receive(engine::Message::copy(bytes));
  compare(owed);
}

void CheckedStream::half_close() {
  note("-> half-close");
  if (sink_.status) return;
  if (waits()) return is_wrong("the test half-closes though the stream does not read");
  sink_.of_message.clear();
  noted_ = 0;
  stream_->half_closed();
  compare(reference_.half_close());
}

void CheckedStream::cancel(engine::Cancel by) {
  note(by == engine::Cancel::kShutdown ? "-> shutdown" : "-> cancel");
  if (sink_.status) return;
  const std::size_t before = sink_.replies.size();
  stream_->cancelled(by);
  reference_.cancel(by == engine::Cancel::kShutdown);
  if (sink_.replies.size() != before || sink_.status) is_wrong("something was sent on a stream that is gone");
}

/// Is there somebody who would resume the plugin that waits?
bool CheckedStream::can_be_resumed() const {
  const auto& suspensions = chain_.notes(id_).suspensions;
  return waits() && !suspensions.empty() && !suspensions.back().left_alone;
}

std::size_t CheckedStream::weight() const {
  if (sink_.status) return 0;
  const std::size_t posted = reference_.posted() > 0 ? 2 : 0;
  const bool can_go_on = can_be_resumed() || (waits() && reference_.timer());
  return posted + (can_go_on ? 4 : 0);
}

void CheckedStream::happen(Random& random) {
  const auto& suspensions = chain_.notes(id_).suspensions;
  const bool timer = waits() && reference_.timer();
  const std::size_t choices[] = {reference_.posted() > 0 ? 3U : 0U, timer ? 3U : 0U,
                                 can_be_resumed() ? 3U : 0U, suspensions.empty() ? 0U : 1U};
  std::size_t sum = 0;
  for (const std::size_t weight : choices) sum += weight;
  std::size_t choice = 0;
  for (std::size_t drawn = random.below(sum); drawn >= choices[choice]; ++choice) drawn -= choices[choice];
  switch (choice) {
    case 0:
      return run_posted();
    case 1:
      return let_time_pass(random.between(1, 40), random.one_in(4) ? random.below(30) : 0);
    case 2:
      return resume(suspensions.size() - 1, random.below(100));
    default: {
      const std::size_t any = random.below(suspensions.size());
      if (!suspensions[any].left_alone) resume(any, random.below(100));
    }
  }
}

void CheckedStream::resume(std::size_t suspension, std::uint64_t token) {
  note("resume " + std::to_string(suspension) + " with " + std::to_string(token));
  const StreamNotes::Suspension& which = chain_.notes(id_).suspensions.at(suspension);
  if (which.plugin->is_waiting(which.handle) != reference_.is_waiting(suspension))
    is_wrong("is_waiting() answers something else");
  const extproc_status expected = reference_.resume(suspension, token);
  const extproc_status got = which.plugin->resume(which.handle, token);
  if (got != expected)
    is_wrong("resume() answers " + std::to_string(got) + ", not " + std::to_string(expected));
  compare_waiting();
}

void CheckedStream::run_posted() {
  note("posted work is done");
  if (sink_.posted->work.empty()) return is_wrong("nothing was posted");
  const auto work = std::move(sink_.posted->work.front());
  sink_.posted->work.pop_front();
  const Owed owed = reference_.run_posted(now());
  work();
  compare(owed);
}

/// Until the timer at most, which fires then, or so much later.
void CheckedStream::let_time_pass(Time millis, Time too_late) {
  const std::optional<Time> timer = reference_.timer();
  const Time until = timer ? std::max(*timer, now()) + too_late : 0;
  if (!timer || now() + millis < until) {
    sink_.time += std::chrono::milliseconds(millis);
    return note("it is " + std::to_string(now()) + " ms");
  }
  sink_.time = kBegin + std::chrono::milliseconds(until);
  note("the timer fires at " + std::to_string(now()) + " ms");
  sink_.timer.reset();
  const Owed owed = reference_.timer_fired(now());
  stream_->timer_fired();
  compare(owed);
}

void CheckedStream::destroy() {
  stream_.reset();
  reference_.cancel(false);  // no difference if it is over already
  sink_.posted->work.clear();
  constexpr std::size_t kFew = 4;
  const auto& suspensions = chain_.notes(id_).suspensions;
  for (std::size_t i = 0; i < std::min(kFew, suspensions.size()); ++i) {
    if (reference_.resume(i, 0) != suspensions[i].plugin->resume(suspensions[i].handle, 0))
      is_wrong("a stream that is gone is resumed");
  }
  if (!sink_.posted->work.empty()) is_wrong("something is posted to a stream that is gone");
  for (const auto& event : reference_.server().events()) coverage_.saw(event);
  for (const auto& event : reference_.events()) coverage_.saw(event);
  const auto& got = chain_.notes(id_).lines;
  const auto& expected = reference_.server().log();
  const auto [at, want] = std::ranges::mismatch(got, expected);
  if (at == got.end() && want == expected.end()) return;
  is_wrong("the plugins' notes differ at line " + std::to_string(at - got.begin()) + "\n    expected " +
           (want == expected.end() ? "nothing more" : *want) + "\n    got      " +
           (at == got.end() ? "nothing more" : *at));
}

/// All that was sent since the last message, with what is owed for it so far.
void CheckedStream::compare(const Owed& owed) {
  std::deque<Answer> got(sink_.of_message.begin(), sink_.of_message.end());
  for (; noted_ < got.size(); ++noted_) {
    std::string text = got[noted_].ShortDebugString();
    if (text.size() > 400) text = text.substr(0, 400) + "…";
    note("<- " + text);
  }
  if (sink_.status) note("<- finish " + sink_.status->ToString());
  if (!sink_.wrong.empty()) is_wrong(sink_.wrong);
  compare_waiting();
  compare_times(owed, got);
  if (owed.end.has_value() != sink_.status.has_value()) {
    return is_wrong(owed.end ? "the stream did not end" : "the stream ended: " + sink_.status->ToString());
  }
  if (owed.end) {
    coverage_.saw("end " + absl::StatusCodeToString(*owed.end));
    if (sink_.status->code() != *owed.end) {
      is_wrong("ended with " + sink_.status->ToString() + ", not " + absl::StatusCodeToString(*owed.end));
    }
    if (!owed.why.empty() && sink_.status->message() != owed.why) {
      is_wrong("ended with '" + std::string(sink_.status->message()) + "', not '" + owed.why + "'");
    }
  }
  if (owed.window_update && !(owed.end && got.empty())) {
    if (got.empty() && waits()) return;  // it goes out beside the first reply
    if (got.empty() || !got.front().has_server_window_update())
      return is_wrong("flow_control_init was not answered");
    coverage_.saw("reply window update");
    if (got.front().response_case() == Answer::RESPONSE_NOT_SET) got.pop_front();
  }
  if (flow_control_ && !owed.immediate) return;  // the model counts what waits for window
  if (!flow_control_) compare_metadata(owed, got);
  for (const Owed::Reply& reply : owed.replies) {
    if (flow_control_ || !wrong_.empty()) break;
    compare_reply(reply, got);
  }
  if (owed.immediate && wrong_.empty()) {
    if (got.empty() || !got.back().has_immediate_response()) return is_wrong("an immediate response is owed");
    coverage_.saw("reply immediate");
    compare_immediate(*owed.immediate, got.back());
    got.pop_back();
  }
  if (!got.empty() && !flow_control_) is_wrong("a reply that is not owed");
}

/// Does the stream stand still exactly when it has to, and wants to be woken at the right time?
void CheckedStream::compare_waiting() {
  if (sink_.status) return;
  if (sink_.paused != reference_.waits()) is_wrong(sink_.paused ? "does not read on" : "does not wait");
  if (sink_.posted->work.size() != reference_.posted()) is_wrong("another number of things is posted");
  const auto timer = reference_.timer();
  const auto in_text = [](const std::optional<Time>& time) {
    return time ? std::to_string(*time) + " ms" : std::string("none");
  };
  std::optional<Time> got;
  if (sink_.timer) got = static_cast<Time>((*sink_.timer - kBegin) / std::chrono::milliseconds(1));
  if (got != timer) is_wrong("the timer is " + in_text(got) + ", not " + in_text(timer));
}

/// Takes from `got` what asks for more time.
void CheckedStream::compare_times(const Owed& owed, std::deque<Answer>& got) {
  std::vector<std::uint64_t> times;
  for (auto reply = got.begin(); reply != got.end();) {
    if (!reply->has_override_message_timeout()) {
      ++reply;
      continue;
    }
    const auto& time = reply->override_message_timeout();
    constexpr std::int64_t kMillis = 1000;
    constexpr std::int64_t kNanosecondsOfMilli = 1000000;
    times.push_back(
        static_cast<std::uint64_t>(time.seconds() * kMillis + time.nanos() / kNanosecondsOfMilli));
    got.erase(reply);
    reply = got.begin();
  }
  if (times != owed.more_time) is_wrong("other times are asked for than are owed");
}

/// Takes from `got` what answers `owed`.
void CheckedStream::compare_reply(const Owed::Reply& owed, std::deque<Answer>& got) {
  if (got.empty()) return is_wrong("no reply");
  if (got[0].response_case() != owed.kind) return is_wrong("a reply of the wrong kind");
  coverage_.saw("reply " + got[0].GetDescriptor()->FindFieldByNumber(owed.kind)->name());
  if (owed.streamed) return compare_streamed(owed, got);
  const Answer reply = std::move(got.front());
  got.pop_front();
  if (reply.has_request_body()) return compare_body(owed, reply.request_body().response());
  if (reply.has_response_body()) return compare_body(owed, reply.response_body().response());
  const bool trailers = reply.has_request_trailers() || reply.has_response_trailers();
  if (!trailers) {
    compare_headers(owed, reply.has_request_headers() ? reply.request_headers().response()
                                                      : reply.response_headers().response());
  }
}

void CheckedStream::compare_headers(const Owed::Reply& owed, const CommonResponse& got) {
  const bool replaces = got.status() == CommonResponse::CONTINUE_AND_REPLACE;
  if (replaces != owed.replacement.has_value()) return is_wrong("CONTINUE_AND_REPLACE is not what is owed");
  if (replaces && got.body_mutation().body() != *owed.replacement) return is_wrong("the wrong body replaces");
  if (!replaces && got.has_body_mutation()) return is_wrong("a body mutation that nobody asked for");
  if (got.clear_route_cache() != owed.clear_route_cache)
    return is_wrong("clear_route_cache is not what is owed");
  if (replaces) coverage_.saw("reply CONTINUE_AND_REPLACE");
  if (owed.clear_route_cache) coverage_.saw("reply clear_route_cache");
}

void CheckedStream::compare_body(const Owed::Reply& owed, const CommonResponse& got) {
  if (got.status() != CommonResponse::CONTINUE) return is_wrong("a status in a body reply");
  if (got.has_header_mutation() && !owed.may_mutate_headers && !owed.clear_route_cache)
    return is_wrong("a header mutation in a body reply");
  if (got.clear_route_cache() != owed.clear_route_cache)
    return is_wrong("clear_route_cache is not what is owed");
  if (got.has_header_mutation()) coverage_.saw("reply to a body with a header mutation");
  const auto& mutation = got.body_mutation();
  if (got.has_body_mutation() && !owed.may_mutate_body)
    return is_wrong("a body mutation that nobody asked for");
  if (mutation.has_streamed_response()) return is_wrong("streamed_response outside full duplex");
  if (got.has_body_mutation() && !mutation.has_body() && !mutation.clear_body())
    return is_wrong("a body mutation that changes nothing");
  const std::string body = got.has_body_mutation() ? mutation.body() : owed.original;
  if (body != joined(owed.body)) {
    return is_wrong("the reply lets '" + readable(body) + "' go on, not '" + readable(joined(owed.body)) +
                    "'");
  }
  if (got.has_body_mutation()) coverage_.saw(mutation.clear_body() ? "reply clear_body" : "reply body");
}

void CheckedStream::compare_streamed(const Owed::Reply& owed, std::deque<Answer>& got) {
  constexpr std::size_t kMostAdvised = std::size_t{62} * 1024;
  Pieces pieces;
  bool ended = false;
  while (!got.empty() && got[0].response_case() == owed.kind) {
    if (ended) return is_wrong("a piece behind the end");
    const auto& common =
        got[0].has_request_body() ? got[0].request_body().response() : got[0].response_body().response();
    if (common.has_header_mutation()) return is_wrong("a header mutation beside a piece");
    const auto& piece = common.body_mutation().streamed_response();
    ended = piece.end_of_stream();
    const bool nothing = piece.body().empty() && (!owed.messages || piece.end_of_stream_without_message());
    if (nothing && !ended) return is_wrong("an empty piece");
    if (!owed.messages && piece.body().size() > kMostAdvised) return is_wrong("a piece over 62 KiB");
    if (!nothing) pieces.push_back(piece.body());
    got.pop_front();
  }
  if (ended != owed.end_of_stream) return is_wrong("end_of_stream is not what is owed");
  const bool same = owed.messages ? pieces == owed.body : joined(pieces) == joined(owed.body);
  if (!same) {
    return is_wrong("pieces " + pieces_seen(pieces, owed.messages) + " go on, not " +
                    pieces_seen(owed.body, owed.messages));
  }
  coverage_.saw(pieces.size() > 1 ? "reply streamed_response in pieces" : "reply streamed_response");
  if (owed.end_of_stream) coverage_.saw("reply streamed_response with end_of_stream");
}

void CheckedStream::compare_immediate(const Owed::Immediate& owed, const Answer& got) {
  const auto& reply = got.immediate_response();
  if (static_cast<std::uint32_t>(reply.status().code()) != owed.status) return is_wrong("another status");
  if (reply.body() != owed.body) return is_wrong("another body in the immediate response");
  if (reply.details() != owed.details) return is_wrong("other details");
  const bool has_grpc = owed.grpc_status >= 0;
  if (reply.has_grpc_status() != has_grpc ||
      (has_grpc && reply.grpc_status().status() != static_cast<std::uint32_t>(owed.grpc_status))) {
    return is_wrong("another gRPC status");
  }
  Headers headers;
  const Judgement judgement = apply(reply.headers(), MutationPlace{}, headers);
  if (!judgement.wholly_accepted())
    return is_wrong("headers of the immediate response: " + judgement.describe());
  if (by_name(headers) != by_name(owed.headers)) {
    is_wrong("the immediate response has headers " + to_string(headers) + ", not " + to_string(owed.headers));
  }
}

void CheckedStream::compare_metadata(const Owed& owed, const std::deque<Answer>& got) {
  std::map<std::string, std::string> metadata;
  for (const Answer& reply : got) {
    for (const auto& [name_space, value] : reply.dynamic_metadata().fields()) {
      if (name_space != kMetadataNamespace) return is_wrong("metadata in namespace " + name_space);
      for (const auto& [key, text] : value.struct_value().fields()) metadata[key] = text.string_value();
    }
  }
  if (metadata != owed.metadata) is_wrong("other dynamic metadata");
  if (!metadata.empty()) coverage_.saw("reply with metadata");
}

}  // namespace extprocd::model
