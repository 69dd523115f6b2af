#include "test/model/envoy_model.h"

#include <utility>

#include "test/model/drain.h"

namespace extprocd::model {

using Answer = EnvoyModel::ProcessingResponse::ResponseCase;

EnvoyModel::EnvoyModel(FilterSettings settings, HttpExchange exchange)
    : settings_(std::move(settings)),
      local_reply_(exchange.local_reply),
      upgrade_(exchange.upgrade),
      directions_{
          DirectionModel(Side::kRequest, settings_, std::move(exchange.request),
                         [this](ProcessingRequest message) { send(Side::kRequest, std::move(message)); }),
          DirectionModel(Side::kResponse, settings_, std::move(exchange.response),
                         [this](ProcessingRequest message) { send(Side::kResponse, std::move(message)); })} {}

bool EnvoyModel::can_arrive(Side side) const {
  if (immediate_ || failed_ || half_closes() || !direction(side).can_arrive()) return false;
  if (streamed_ && (streamed_->ended || side == Side::kResponse)) return false;
  const DirectionModel& request = direction(Side::kRequest);
  if (side == Side::kRequest) {
    const bool body_is_next = request.headers_arrived();
    return !upgrade_ || !body_is_next || passed(Side::kResponse).headers.has_value();
  }
  // What comes on an upgraded connection answers what was sent on it.
  const bool body_is_next = direction(side).headers_arrived();
  if (upgrade_ && body_is_next && !passed(Side::kResponse).headers) return false;
  return passed(Side::kRequest).headers.has_value() || (local_reply_ && request.headers_arrived());
}

void EnvoyModel::arrive(Side side) {
  if (side == Side::kResponse && !passed(Side::kRequest).headers)
    directions_[index(Side::kRequest)].abandon();
  directions_[index(side)].arrive();
}

bool EnvoyModel::can_give_back() const {
  return settings_.windows && !over_ && !draining_ &&
         (direction(Side::kRequest).to_give_back() > 0 || direction(Side::kResponse).to_give_back() > 0);
}

void EnvoyModel::give_back() {
  ProcessingRequest message;
  auto& update = *message.mutable_client_window_update();
  update.set_window_increment_sidestream_to_upstream(directions_[0].give_back());
  update.set_window_increment_sidestream_to_downstream(directions_[1].give_back());
  sent_.push_back(std::move(message));
}

/// Adds what every message, or the first one, carries beside its part.
void EnvoyModel::send(Side side, ProcessingRequest message) {
  message.mutable_metadata_context();
  message.set_observability_mode(settings_.observability_mode);
  if (!std::exchange(attributes_sent_[index(side)], true)) {
    auto& attributes = (*message.mutable_attributes())["envoy.filters.http.ext_proc"];
    (*attributes.mutable_fields())["request.path"].set_string_value("/");
  }
  if (!std::exchange(any_sent_, true)) {
    if (settings_.sends_protocol_config && !settings_.observability_mode) {
      auto& config = *message.mutable_protocol_config();
      config.set_request_body_mode(settings_.side(Side::kRequest).body);
      config.set_response_body_mode(settings_.side(Side::kResponse).body);
      config.set_send_body_without_waiting_for_header_response(
          settings_.send_body_without_waiting_for_header_response);
    }
    if (settings_.windows) {
      auto& init = *message.mutable_flow_control_init();
      init.set_initial_window_downstream_to_sidestream(settings_.windows->downstream_to_sidestream);
      init.set_initial_window_sidestream_to_upstream(settings_.windows->sidestream_to_upstream);
      init.set_initial_window_upstream_to_sidestream(settings_.windows->upstream_to_sidestream);
      init.set_initial_window_sidestream_to_downstream(settings_.windows->sidestream_to_downstream);
    }
  }
  sent_.push_back(std::move(message));
}

Judgement EnvoyModel::judge(const ProcessingResponse& reply) {
  if (over_) return refused(Verdict::kAfterEnd, "the stream is over");
  if (immediate_) return refused(Verdict::kAfterImmediate, "an immediate response came before");
  if (streamed_ && reply.response_case() != Answer::kStreamedImmediateResponse) {
    return refused(Verdict::kSpurious, "a reply that is no part of the local reply");
  }
  if (settings_.observability_mode) return refused(Verdict::kUnwanted, "nothing is to be answered");
  if (!any_sent_) return refused(Verdict::kSpurious, "a reply before any message");
  if (Judgement windows = judge_windows(reply); !windows.accepted()) return windows;
  const bool answers = reply.response_case() != Answer::RESPONSE_NOT_SET;
  if (reply.has_override_message_timeout()) {
    if (answers) return refused(Verdict::kReplyLost, "override_message_timeout beside a reply");
    return {};
  }
  if (!answers) {
    if (requests_drain(reply) && settings_.grpc_data_plane) return judge_extras(reply);
    if (reply.has_server_window_update()) {
      const auto waiting = direction(Side::kRequest).owed();
      const bool is_grpc = settings_.side(Side::kRequest).body != ProcessingMode::FULL_DUPLEX_STREAMED;
      if (is_grpc && !waiting.empty() && waiting.front() == "request headers") {
        return refused(Verdict::kSpurious, "grpc-go takes nothing before the reply to request headers");
      }
      return {};
    }
    return refused(Verdict::kSpurious, "no reply is set");
  }
  Judgement judgement = judge_answer(reply);
  if (!judgement.accepted()) return judgement;
  Judgement extras = judge_extras(reply);
  judgement.ignored.insert(judgement.ignored.end(), extras.ignored.begin(), extras.ignored.end());
  return judgement;
}

/// gRFC A93: flow_control_init is answered at once, and nobody else gets a window update.
Judgement EnvoyModel::judge_windows(const ProcessingResponse& reply) {
  if (!reply.has_server_window_update()) {
    if (settings_.windows && !windows_answered_) {
      return refused(Verdict::kFlowControl, "flow_control_init is not answered first");
    }
    return {};
  }
  if (!settings_.windows) return refused(Verdict::kSpurious, "a window update without flow_control_init");
  windows_answered_ = true;
  const auto& update = reply.server_window_update();
  if (!directions_[0].add_to_send_window(update.window_increment_downstream_to_sidestream()) ||
      !directions_[1].add_to_send_window(update.window_increment_upstream_to_sidestream())) {
    return refused(Verdict::kFlowControl, "the window overflows");
  }
  return {};
}

Judgement EnvoyModel::judge_extras(const ProcessingResponse& reply) {
  Judgement judgement;
  const bool asks =
      requests_drain(reply) || reply.request_drain_requests() || reply.request_drain_responses();
  if (asks && !settings_.grpc_data_plane)
    judgement.ignored.emplace_back("a drain, which Envoy does not know");
  if (requests_drain(reply) && settings_.grpc_data_plane) {
    draining_ = true;
    for (DirectionModel& direction : directions_) direction.stop_counting();
  }
  for (const auto& [name_space, value] : reply.dynamic_metadata().fields()) {
    if (!value.has_struct_value())
      judgement.ignored.push_back("metadata namespace '" + name_space + "' that is no struct");
  }
  return judgement;
}

Judgement EnvoyModel::judge_answer(const ProcessingResponse& reply) {
  DirectionModel& request = directions_[index(Side::kRequest)];
  DirectionModel& response = directions_[index(Side::kResponse)];
  const bool headers_waited_for = request.state() == DirectionModel::State::kHeaders ||
                                  response.state() == DirectionModel::State::kHeaders;
  Judgement judgement;
  const auto answer = reply.response_case();
  // Before the direction goes on, for what it then sends depends on it.
  if (reply.has_mode_override()) override_mode(reply, headers_waited_for, judgement);
  Judgement of_direction;
  switch (answer) {
    case Answer::kRequestHeaders:
      of_direction = request.headers_reply(reply.request_headers().response());
      break;
    case Answer::kResponseHeaders:
      of_direction = response.headers_reply(reply.response_headers().response());
      break;
    case Answer::kRequestBody:
      of_direction = request.body_reply(reply.request_body().response());
      break;
    case Answer::kResponseBody:
      of_direction = response.body_reply(reply.response_body().response());
      break;
    case Answer::kRequestTrailers:
      of_direction = request.trailers_reply(reply.request_trailers().header_mutation());
      break;
    case Answer::kResponseTrailers:
      of_direction = response.trailers_reply(reply.response_trailers().header_mutation());
      break;
    case Answer::kImmediateResponse:
      of_direction = judge_immediate(reply.immediate_response());
      break;
    default:
      of_direction = judge_streamed(reply.streamed_immediate_response());
  }
  of_direction.ignored.insert(of_direction.ignored.end(), judgement.ignored.begin(), judgement.ignored.end());
  return of_direction;
}

void EnvoyModel::override_mode(const ProcessingResponse& reply, bool headers_waited_for,
                               Judgement& judgement) {
  const auto duplex = [this](Side side) {
    return settings_.side(side).body == ProcessingMode::FULL_DUPLEX_STREAMED;
  };
  const bool on_headers = reply.has_request_headers() || reply.has_response_headers();
  if (!settings_.allow_mode_override || settings_.send_body_without_waiting_for_header_response ||
      settings_.grpc_data_plane || duplex(Side::kRequest) || duplex(Side::kResponse) || !headers_waited_for ||
      !on_headers) {
    judgement.ignored.emplace_back("mode_override");
    return;
  }
  // The static mode is the base; headers and trailers may say "unchanged", body modes may not.
  const ProcessingMode& mode = reply.mode_override();
  const auto sent = [](ProcessingMode::HeaderSendMode wanted, bool base) {
    return wanted == ProcessingMode::DEFAULT ? base : wanted == ProcessingMode::SEND;
  };
  for (const Side side : {Side::kRequest, Side::kResponse}) {
    const bool request = side == Side::kRequest;
    if (request && reply.has_response_headers()) continue;
    SideSettings changed = settings_.side(side);
    if (!request) changed.send_headers = sent(mode.response_header_mode(), changed.send_headers);
    changed.body = request ? mode.request_body_mode() : mode.response_body_mode();
    changed.send_trailers =
        sent(request ? mode.request_trailer_mode() : mode.response_trailer_mode(), changed.send_trailers);
    directions_[index(side)].override_mode(changed);
  }
}

Judgement EnvoyModel::judge_immediate(const ImmediateResponse& reply) {
  Headers headers;
  Judgement judgement = apply(reply.headers(), MutationPlace{}, headers);
  if (!judgement.accepted()) return judgement;
  if (!reply.has_status() || reply.status().code() < 200)
    judgement.ignored.emplace_back("a status below 200, which becomes 200");
  immediate_ = reply;
  immediate_headers_ = std::move(headers);
  immediate_is_whole_ = !passed(Side::kResponse).headers.has_value();
  return judgement;
}

/// A local reply in pieces: headers in answer to the request's, then bodies, and an end or trailers.
Judgement EnvoyModel::judge_streamed(const StreamedImmediateResponse& reply) {
  const auto stranger = [](const char* why) { return refused(Verdict::kSpurious, why); };
  if (reply.has_headers_response()) {
    const auto& headers = reply.headers_response();
    return begin_streamed(headers.headers(), headers.end_of_stream());
  }
  if (!streamed_) return stranger("a piece of a local reply that has not begun");
  if (streamed_->ended) return stranger("a piece behind the end of a local reply");
  if (reply.has_body_response()) {
    const auto& piece = reply.body_response();
    streamed_->body += piece.body();
    streamed_->ended = piece.end_of_stream();
    return {};
  }
  if (!reply.has_trailers_response()) return stranger("a local reply without a part");
  streamed_->trailers.emplace();
  for (const auto& header : reply.trailers_response().headers())
    overwrite(*streamed_->trailers, header.key(), header.raw_value());
  streamed_->ended = true;
  return {};
}

Judgement EnvoyModel::begin_streamed(const envoy::config::core::v3::HeaderMap& headers, bool end) {
  DirectionModel& request = directions_[index(Side::kRequest)];
  if (streamed_) return refused(Verdict::kSpurious, "a local reply that has begun already");
  if (settings_.grpc_data_plane || !request.takes_local_reply()) {
    return refused(Verdict::kSpurious, "a local reply in pieces that is not taken here");
  }
  Passed reply;
  reply.headers.emplace();
  // One value a name: Envoy sets them.
  for (const auto& header : headers.headers()) overwrite(*reply.headers, header.key(), header.raw_value());
  const auto status = first_value(*reply.headers, ":status");
  if (!status || status->size() != 3 || *status < "200") {
    return refused(Verdict::kHeaderMutation, "a local reply without a status of 200 or more");
  }
  reply.ended = end;
  streamed_ = std::move(reply);
  request.begin_local_reply();
  return {};
}

void EnvoyModel::server_ended(bool ok) {
  over_ = true;
  const auto streams = [this](Side side) { return is_duplex(settings_.side(side).body); };
  // To a gRPC client an end without a drain is an error where bodies go through the server.
  const bool ends_early =
      settings_.grpc_data_plane && !draining_ && (streams(Side::kRequest) || streams(Side::kResponse));
  failed_ = (!ok || ends_early) && !settings_.observability_mode && !immediate_;
  // Fails closed, whatever failure_mode_allow says.
  if (streamed_) failed_ = !streamed_->ended;
  if (failed_ || immediate_ || streamed_) return;
  for (DirectionModel& direction : directions_) direction.stop();
}

std::vector<std::string> EnvoyModel::owed() const {
  if (immediate_ || over_ || !any_sent_) return {};
  if (streamed_) {
    if (streamed_->ended || direction(Side::kRequest).can_arrive()) return {};
    return {"the end of the local reply"};
  }
  std::vector<std::string> owed = direction(Side::kRequest).owed();
  for (auto& reply : direction(Side::kResponse).owed()) owed.push_back(std::move(reply));
  if (settings_.windows && !windows_answered_) owed.emplace_back("server_window_update");
  return owed;
}

}  // namespace extprocd::model
