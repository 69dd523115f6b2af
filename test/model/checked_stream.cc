#include <algorithm>

#include "test/model/conversation.h"

namespace extprocd::model {

using Answer = CheckedStream::ProcessingResponse;

void CheckedStream::Sink::send(const wire::Pieces& message) {
  if (status) wrong = "a message after finish";
  Answer reply;
  if (!reply.ParseFromString(message.joined())) wrong = "a reply that cannot be read";
  replies.push_back(std::move(reply));
}

void CheckedStream::Sink::finish(const absl::Status& end) {
  if (status) wrong = "finished twice";
  status = end;
}

CheckedStream::CheckedStream(PlannedChain& chain, const std::vector<PluginPlan>& plans, std::uint64_t id,
                             bool flow_control, Coverage& coverage)
    : chain_(chain),
      id_(id),
      flow_control_(flow_control),
      coverage_(coverage),
      stream_(std::make_unique<engine::Stream>(chain.generation(), sink_,
                                               engine::StreamFacts{.peer = "model"}, id)),
      reference_(plans) {}

void CheckedStream::receive(const std::string& bytes) {
  envoy::service::ext_proc::v3::ProcessingRequest message;
  const bool read = message.ParseFromString(bytes);
  std::string text = read ? message.ShortDebugString() : readable(bytes);
  if (text.size() > 400) text = text.substr(0, 400) + "…";
  note(read ? "-> " + text : "-> garbage " + text);
  const std::size_t before = sink_.replies.size();
  const bool was_finished = sink_.status.has_value();
  const Owed owed = reference_.receive(bytes);
  if (was_finished) return;  // a transport gives nothing to a stream that is over
  stream_->receive(engine::Message::copy(bytes));
  compare(owed, before, was_finished);
}

void CheckedStream::half_close() {
  note("-> half-close");
  const bool was_finished = sink_.status.has_value();
  if (was_finished) return;
  const std::size_t before = sink_.replies.size();
  stream_->half_closed();
  compare(reference_.half_close(), before, was_finished);
}

void CheckedStream::cancel(engine::Cancel by) {
  note(by == engine::Cancel::kShutdown ? "-> shutdown" : "-> cancel");
  if (sink_.status) return;
  const std::size_t before = sink_.replies.size();
  stream_->cancelled(by);
  reference_.cancel(by == engine::Cancel::kShutdown);
  if (sink_.replies.size() != before || sink_.status) is_wrong("something was sent on a stream that is gone");
}

void CheckedStream::destroy() {
  stream_.reset();
  reference_.cancel(false);  // no difference if it is over already
  for (const auto& event : reference_.events()) coverage_.saw(event);
  const auto& got = chain_.log(id_);
  const auto& expected = reference_.log();
  const auto [at, want] = std::ranges::mismatch(got, expected);
  if (at == got.end() && want == expected.end()) return;
  is_wrong("the plugins' notes differ at line " + std::to_string(at - got.begin()) + "\n    expected " +
           (want == expected.end() ? "nothing more" : *want) + "\n    got      " +
           (at == got.end() ? "nothing more" : *at));
}

void CheckedStream::compare(const Owed& owed, std::size_t replies_before, bool was_finished) {
  std::deque<Answer> got(sink_.replies.begin() + static_cast<std::ptrdiff_t>(replies_before),
                         sink_.replies.end());
  for (const auto& reply : got) {
    std::string text = reply.ShortDebugString();
    if (text.size() > 400) text = text.substr(0, 400) + "…";
    note("<- " + text);
  }
  if (sink_.status && !was_finished) note("<- finish " + sink_.status->ToString());
  if (!sink_.wrong.empty()) is_wrong(sink_.wrong);
  if (owed.end.has_value() != (sink_.status.has_value() && !was_finished)) {
    return is_wrong(owed.end ? "the stream did not end" : "the stream ended: " + sink_.status->ToString());
  }
  if (owed.end) {
    coverage_.saw("end " + absl::StatusCodeToString(*owed.end));
    if (sink_.status->code() != *owed.end) {
      is_wrong("ended with " + sink_.status->ToString() + ", not " + absl::StatusCodeToString(*owed.end));
    }
  }
  if (owed.window_update && !(owed.end && got.empty())) {
    if (got.empty() || !got.front().has_server_window_update())
      return is_wrong("flow_control_init was not answered");
    coverage_.saw("reply window update");
    if (got.front().response_case() == Answer::RESPONSE_NOT_SET) got.pop_front();
  }
  if (owed.immediate) {
    if (got.size() != 1 || !got[0].has_immediate_response()) return is_wrong("an immediate response is owed");
    coverage_.saw("reply immediate");
    compare_immediate(*owed.immediate, got[0]);
    compare_metadata(owed, got[0]);
    return;
  }
  if (flow_control_) return;  // the model counts what waits for window
  if (!owed.reply) {
    if (!got.empty()) is_wrong("a reply that is not owed");
    return;
  }
  compare_reply(owed, std::move(got));
}

void CheckedStream::compare_reply(const Owed& owed, std::deque<Answer> got) {
  const Owed::Reply& reply = *owed.reply;
  if (got.empty()) return is_wrong("no reply");
  for (const auto& one : got) {
    if (one.response_case() != reply.kind) return is_wrong("a reply of the wrong kind");
  }
  coverage_.saw("reply " + got[0].GetDescriptor()->FindFieldByNumber(reply.kind)->name());
  compare_metadata(owed, got[0]);
  if (reply.streamed) return compare_streamed(reply, got);
  if (got.size() != 1) return is_wrong("more than one reply");
  const bool headers = got[0].has_request_headers() || got[0].has_response_headers();
  const auto& common = got[0].has_request_headers()    ? got[0].request_headers().response()
                       : got[0].has_response_headers() ? got[0].response_headers().response()
                       : got[0].has_request_body()     ? got[0].request_body().response()
                                                       : got[0].response_body().response();
  const bool replaces = common.status() == envoy::service::ext_proc::v3::CommonResponse::CONTINUE_AND_REPLACE;
  if (replaces != reply.replacement.has_value()) return is_wrong("CONTINUE_AND_REPLACE is not what is owed");
  if (replaces && common.body_mutation().body() != *reply.replacement)
    return is_wrong("the wrong body replaces");
  if (!replaces && common.has_body_mutation()) return is_wrong("a body mutation that nobody asked for");
  if (common.clear_route_cache() != reply.clear_route_cache)
    return is_wrong("clear_route_cache is not what is owed");
  if (!headers && common.has_header_mutation()) return is_wrong("a header mutation in a body reply");
  if (replaces) coverage_.saw("reply CONTINUE_AND_REPLACE");
  if (reply.clear_route_cache) coverage_.saw("reply clear_route_cache");
}

void CheckedStream::compare_streamed(const Owed::Reply& owed, const std::deque<Answer>& got) {
  constexpr std::size_t kMostAdvised = std::size_t{64} * 1024;
  std::string bytes;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto& common =
        got[i].has_request_body() ? got[i].request_body().response() : got[i].response_body().response();
    const auto& piece = common.body_mutation().streamed_response();
    const bool last = i + 1 == got.size();
    if (piece.end_of_stream() != (last && owed.end_of_stream))
      return is_wrong("end_of_stream is not what is owed");
    if (piece.end_of_stream_without_message() != (last && owed.end_of_stream_without_message)) {
      return is_wrong("end_of_stream_without_message is not what is owed");
    }
    if (!owed.whole && piece.body().size() > kMostAdvised) return is_wrong("a piece over 64 KiB");
    if (got.size() > 1 && piece.body().empty()) return is_wrong("an empty piece among others");
    bytes += piece.body();
  }
  if (owed.whole && got.size() != 1) return is_wrong("a gRPC message in pieces");
  if (bytes != owed.bytes) return is_wrong("other bytes than came");
  coverage_.saw(got.size() > 1 ? "reply streamed_response in pieces" : "reply streamed_response");
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

void CheckedStream::compare_metadata(const Owed& owed, const Answer& got) {
  std::map<std::string, std::string> metadata;
  for (const auto& [name_space, value] : got.dynamic_metadata().fields()) {
    if (name_space != kMetadataNamespace) return is_wrong("metadata in namespace " + name_space);
    for (const auto& [key, text] : value.struct_value().fields()) metadata[key] = text.string_value();
  }
  if (metadata != owed.metadata) is_wrong("other dynamic metadata");
  if (!metadata.empty()) coverage_.saw("reply with metadata");
}

}  // namespace extprocd::model
