#include "test/fuzz/judging_sink.h"

#include <utility>

#include "core/wire/request_view.h"

namespace extprocd::fuzz {
namespace {

constexpr std::size_t kHeaders = 0;
constexpr std::size_t kBodies = 1;
constexpr std::size_t kTrailers = 2;
constexpr std::size_t kMostAdvised = std::size_t{64} * 1024;

bool is_duplex(const std::optional<wire::BodyMode>& mode) { return mode && wire::is_duplex(*mode); }

}  // namespace

void JudgingSink::expect_answer_to(std::string_view message) {
  asked_for_time_ = false;
  wire::RequestView view;
  if (!view.parse(message).ok()) return;
  if (!std::exchange(started_, true)) {
    observing_ = view.observability_mode();
    if (const auto& config = view.protocol_config()) {
      flows_[0].mode = config->request_body_mode;
      flows_[1].mode = config->response_body_mode;
    }
  }
  switch (view.kind()) {
    case wire::MessageKind::kRequestHeaders:
      ++flows_[0].messages[kHeaders];
      break;
    case wire::MessageKind::kRequestBody:
      ++flows_[0].messages[kBodies];
      break;
    case wire::MessageKind::kRequestTrailers:
      ++flows_[0].messages[kTrailers];
      break;
    case wire::MessageKind::kResponseHeaders:
      ++flows_[1].messages[kHeaders];
      break;
    case wire::MessageKind::kResponseBody:
      ++flows_[1].messages[kBodies];
      break;
    case wire::MessageKind::kResponseTrailers:
      ++flows_[1].messages[kTrailers];
      break;
    default:
      break;
  }
}

void JudgingSink::send(const wire::Pieces& message) {
  require(!observing_, "nothing is sent in observability mode");
  require(!finished && !over_, "nothing is sent after the end");
  require(!replied, "nothing is sent after a local reply");
  ProcessingResponse reply;
  require(reply.ParseFromString(message.joined()), "a reply can be parsed");
  last = reply;
  judge_override(reply);
  if (reply.has_override_message_timeout())
    require(!std::exchange(asked_for_time_, true), "more time is asked for once a message");
  switch (reply.response_case()) {
    case ProcessingResponse::kRequestHeaders:
      return judge_reply(flows_[0], kHeaders, reply);
    case ProcessingResponse::kRequestBody:
      return judge_reply(flows_[0], kBodies, reply);
    case ProcessingResponse::kRequestTrailers:
      return judge_reply(flows_[0], kTrailers, reply);
    case ProcessingResponse::kResponseHeaders:
      return judge_reply(flows_[1], kHeaders, reply);
    case ProcessingResponse::kResponseBody:
      return judge_reply(flows_[1], kBodies, reply);
    case ProcessingResponse::kResponseTrailers:
      return judge_reply(flows_[1], kTrailers, reply);
    case ProcessingResponse::kImmediateResponse:
      require(!replies_in_pieces_, "no immediate response is sent behind the beginning of another");
      replied = true;
      return;
    case ProcessingResponse::kStreamedImmediateResponse:
      return judge_local_reply_piece(reply);
    default:
      require(reply.has_server_window_update() || reply.has_override_message_timeout() ||
                  reply.request_drain_requests(),
              "an empty reply is a window update, or asks for more time or for a drain");
  }
}

void JudgingSink::judge_reply(Flow& flow, std::size_t part, const ProcessingResponse& reply) {
  require(!replies_in_pieces_, "no reply is sent behind the beginning of a local reply");
  require(!reply.has_override_message_timeout(), "no reply is lost beside override_message_timeout");
  for (std::size_t later = part + 1; later < flow.replies.size(); ++later) {
    require(flow.replies[later] == 0, "replies of a direction come in order");
  }
  ++flow.replies[part];
  ++replies;
  require(part != kTrailers || !flow.ended, "trailers are answered only in a direction that goes on");
  if (part == kBodies && is_duplex(flow.mode)) {
    require(flow.messages[part] > 0, "no piece is sent that nothing came for");
    return judge_piece(
        flow, reply.has_request_body() ? reply.request_body().response() : reply.response_body().response());
  }
  require(flow.replies[part] <= flow.messages[part], "no reply is sent that is not owed");
  const auto& common = reply.has_request_body() ? reply.request_body() : reply.response_body();
  require(!common.response().body_mutation().has_streamed_response(),
          "pieces are sent only in modes that take them");
}

void JudgingSink::judge_piece(Flow& flow, const CommonResponse& common) {
  require(common.body_mutation().has_streamed_response(),
          "what goes on of a body is sent in pieces in these modes");
  require(!common.has_header_mutation(), "no header mutation is sent beside a piece");
  require(!flow.ended, "nothing is sent of a body behind its end");
  const auto& piece = common.body_mutation().streamed_response();
  require(flow.mode == wire::BodyMode::kGrpc || piece.body().size() <= kMostAdvised,
          "a piece is not too large");
  flow.ended = piece.end_of_stream();
}

void JudgingSink::judge_local_reply_piece(const ProcessingResponse& reply) {
  const auto& piece = reply.streamed_immediate_response();
  const bool begins = piece.has_headers_response();
  require(begins != replies_in_pieces_, "a local reply in pieces begins once, with its headers");
  require(!begins || flows_[0].replies == std::array<int, 3>{}, "it answers request headers");
  replies_in_pieces_ = true;
  replied = piece.headers_response().end_of_stream() || piece.body_response().end_of_stream() ||
            piece.has_trailers_response();
}

void JudgingSink::judge_override(const ProcessingResponse& reply) {
  if (!reply.has_mode_override()) return;
  require(reply.has_request_headers() || reply.has_response_headers(),
          "modes are overridden beside a headers reply");
  flows_[0].mode = static_cast<wire::BodyMode>(reply.mode_override().request_body_mode());
  flows_[1].mode = static_cast<wire::BodyMode>(reply.mode_override().response_body_mode());
}

void JudgingSink::finish(const absl::Status& status) {
  require(!finished && !over_, "a stream ends once");
  require(status.message().size() < 4096, "a status' text is short");
  require(!observing_ || status.ok(), "observability mode ends with OK");
  finished = true;
  over_ = true;
}

void JudgingSink::pause_reading() {
  require(!over_, "a stream that is over does not pause");
  require(!std::exchange(paused, true), "a stream pauses once");
}

void JudgingSink::resume_reading() {
  require(!over_, "a stream that is over does not read on");
  require(std::exchange(paused, false), "a stream reads on if it paused");
}

void JudgingSink::set_timer(std::optional<engine::Clock::time_point> at) {
  require(!over_, "a stream that is over sets no timer");
  timer = at;
}

}  // namespace extprocd::fuzz
