#include "test/model/server_reference.h"

#include <algorithm>
#include <utility>

namespace extprocd::model {
namespace {

using Reply = envoy::service::ext_proc::v3::ProcessingResponse;

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return text;
}

bool valid_name(const std::string& name) {
  static const std::string kAllowed = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
  const std::string token = lower(name.starts_with(':') ? name.substr(1) : name);
  return !token.empty() && token.find_first_not_of(kAllowed) == std::string::npos;
}

bool valid_value(const std::string& value) {
  return std::ranges::none_of(value, [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; });
}

bool is_headers(std::uint32_t phase) {
  return phase == EXTPROC_REQUEST_HEADERS || phase == EXTPROC_RESPONSE_HEADERS;
}
bool is_body(std::uint32_t phase) { return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY; }

}  // namespace

ServerReference::ServerReference(const std::vector<PluginPlan>& plans)
    : plans_(plans), plugins_(plans.size()) {}

void ServerReference::change(Headers& headers, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    const std::string name = lower(step.name);
    switch (step.kind) {
      case Step::Kind::kSet:
        overwrite(headers, name, step.value);
        break;
      case Step::Kind::kAdd:
        headers.emplace_back(name, step.value);
        break;
      default:
        remove_all(headers, name);
    }
  }
}

Owed ServerReference::receive(const std::string& bytes) {
  Owed owed;
  if (life_ != Life::kOpen) return owed;
  ProcessingRequest message;
  if (!message.ParseFromString(bytes)) {
    events_.emplace_back("protocol error: unreadable");
    end(absl::StatusCode::kInvalidArgument, EXTPROC_END_PROTOCOL, owed);
    return owed;
  }
  if (std::exchange(first_, false)) {
    observing_ = message.observability_mode();
    says_modes_ = message.has_protocol_config();
    modes_ = {message.protocol_config().request_body_mode(), message.protocol_config().response_body_mode()};
    grpc_data_plane_ = message.has_flow_control_init() || modes_[0] == ProcessingMode::GRPC ||
                       modes_[1] == ProcessingMode::GRPC;
    owed.window_update = message.has_flow_control_init() && !observing_;
  }
  if (message.request_case() == ProcessingRequest::REQUEST_NOT_SET) return owed;
  Headers headers;
  const Incoming incoming = split(message, headers);
  if (closed_[index(incoming.side)]) {
    events_.emplace_back("message of a replaced direction");
    return owed;
  }
  if (!in_order(incoming)) {
    events_.emplace_back("protocol error: out of order");
    end(absl::StatusCode::kInvalidArgument, EXTPROC_END_PROTOCOL, owed);
    return owed;
  }
  original_[incoming.phase] = headers;
  run_chain(incoming, owed);
  return owed;
}

ServerReference::Incoming ServerReference::split(const ProcessingRequest& message, Headers& headers) {
  Incoming incoming{
      .side = Side::kRequest, .phase = 0, .end_of_stream = false, .body = {}, .end_without_message = false};
  const envoy::config::core::v3::HeaderMap* map = nullptr;
  const envoy::service::ext_proc::v3::HttpBody* body = nullptr;
  switch (message.request_case()) {
    case ProcessingRequest::kRequestHeaders:
      incoming.phase = EXTPROC_REQUEST_HEADERS;
      incoming.end_of_stream = message.request_headers().end_of_stream();
      map = &message.request_headers().headers();
      break;
    case ProcessingRequest::kResponseHeaders:
      incoming.phase = EXTPROC_RESPONSE_HEADERS;
      incoming.end_of_stream = message.response_headers().end_of_stream();
      map = &message.response_headers().headers();
      break;
    case ProcessingRequest::kRequestTrailers:
      incoming.phase = EXTPROC_REQUEST_TRAILERS;
      map = &message.request_trailers().trailers();
      break;
    case ProcessingRequest::kResponseTrailers:
      incoming.phase = EXTPROC_RESPONSE_TRAILERS;
      map = &message.response_trailers().trailers();
      break;
    case ProcessingRequest::kResponseBody:
      incoming.phase = EXTPROC_RESPONSE_BODY;
      body = &message.response_body();
      break;
    default:
      incoming.phase = EXTPROC_REQUEST_BODY;
      body = &message.request_body();
  }
  incoming.side = incoming.phase >= EXTPROC_RESPONSE_HEADERS ? Side::kResponse : Side::kRequest;
  if (body != nullptr) {
    incoming.body = body->body();
    incoming.end_of_stream = body->end_of_stream();
    incoming.end_without_message = body->end_of_stream_without_message();
  } else {
    for (const auto& header : map->headers()) {
      headers.emplace_back(lower(header.key()),
                           header.raw_value().empty() ? header.value() : header.raw_value());
    }
  }
  return incoming;
}

bool ServerReference::in_order(const Incoming& incoming) {
  Order& order = order_[index(incoming.side)];
  if (order == Order::kEnded) return false;
  if (is_headers(incoming.phase) && order != Order::kIdle) return false;
  const bool trailers = !is_headers(incoming.phase) && !is_body(incoming.phase);
  order = incoming.end_of_stream || trailers ? Order::kEnded : Order::kOpen;
  return true;
}

bool ServerReference::reply_possible(const Incoming& incoming) const {
  if (response_headers_ == ResponseHeaders::kGone) return false;
  if (incoming.side == Side::kRequest || is_headers(incoming.phase)) return true;
  return is_body(incoming.phase) && response_headers_ == ResponseHeaders::kHeld;
}

void ServerReference::run_chain(const Incoming& incoming, Owed& owed) {
  can_reply_ = reply_possible(incoming);
  map_ = incoming.phase;
  draft_ = {};
  const std::size_t count = plans_.size();
  for (std::size_t i = 0; i < count && life_ == Life::kOpen && !owed.immediate; ++i) {
    const std::size_t position = incoming.side == Side::kResponse ? count - 1 - i : i;
    if (!run_plugin(position, incoming, owed)) return;
  }
  answer(incoming, owed);
}

/// False: the chain stops here.
bool ServerReference::run_plugin(std::size_t position, const Incoming& incoming, Owed& owed) {
  const PluginPlan& plan = plans_[position];
  Plugin& plugin = plugins_[position];
  if (plugin.done || (plan.phases & EXTPROC_PHASE_BIT(incoming.phase)) == 0) return true;
  if (!plugin.begun) {
    write(position, "begin");
    if (plan.fails_to_begin) events_.emplace_back("outcome fails to begin");
    if (plan.fails_to_begin) return fail(position, plan.phase[0].fail_code, owed);
    plugin.begun = true;
  }
  const Draft before = draft_;
  const PhasePlan& what = plan.phase[incoming.phase];
  write(position,
        phase_name(incoming.phase) + (incoming.end_of_stream ? " eos" : "") + " sees " +
            (is_body(incoming.phase) ? readable(incoming.body) : to_string(visible(incoming.phase))));
  for (const Step& step : what.steps) {
    write(position, to_string(step) + " -> " + std::to_string(take(step, incoming.phase)));
  }
  if (plugin.calls[incoming.phase]++ != what.outcome_at) return true;
  events_.push_back("outcome " + to_string(what.outcome));
  std::uint32_t code = 2;
  switch (what.outcome) {
    case Outcome::kContinue:
      return true;
    case Outcome::kFinish:
      plugin.done = true;
      return true;
    case Outcome::kReply: {
      const std::uint32_t status = reply_status(what);
      write(position, "reply -> " + std::to_string(status));
      events_.push_back("reply() answers " + std::to_string(status));
      if (status != EXTPROC_OK) return true;
      const std::string name = "p" + std::to_string(position);
      reply(position,
            {.status = what.reply_status,
             .body = "reply of " + name,
             .details = name + "_replied",
             .grpc_status = what.reply_grpc_status,
             .headers = what.reply_headers},
            owed);
      return false;
    }
    case Outcome::kFail:
      code = what.fail_code;
      break;
    default:
      break;
  }
  if (!draft_.changes.empty() || draft_.replacement) events_.emplace_back("changes taken back");
  draft_ = before;
  return fail(position, code, owed);
}

bool ServerReference::fail(std::size_t position, std::uint32_t code, Owed& owed) {
  plugins_[position].done = true;
  const config::FailurePolicy policy = plans_[position].on_error;
  const bool too_late = policy == config::FailurePolicy::kDeny && !can_reply_;
  events_.push_back("policy " + std::string(config::to_string(policy)) + (too_late ? " too late" : ""));
  if (policy == config::FailurePolicy::kSkip) return true;
  if (policy == config::FailurePolicy::kDeny && can_reply_) {
    reply(position,
          {.status = kDenyStatus,
           .body = {},
           .details = "extproc_p" + std::to_string(position) + "_failed",
           .grpc_status = -1,
           .headers = {}},
          owed);
    return false;
  }
  end(static_cast<absl::StatusCode>(code), EXTPROC_END_FAILED, owed);
  return false;
}

/// The plugins that had begun hear of the reply, the last one first, and may change its headers.
void ServerReference::reply(std::size_t position, Owed::Immediate immediate, Owed& owed) {
  map_ = EXTPROC_LOCAL_REPLY;
  original_[map_] = {{":status", std::to_string(immediate.status)}};
  draft_.changes.clear();
  for (const auto& [name, value] : immediate.headers) {
    const bool again = first_value(visible(map_), lower(name)).has_value();
    draft_.changes.push_back({again ? Step::Kind::kAdd : Step::Kind::kSet, name, value});
  }
  for (std::size_t i = plans_.size(); i-- > 0;) {
    Plugin& plugin = plugins_[i];
    if (i == position || !plugin.begun || plugin.done) continue;
    if ((plans_[i].phases & EXTPROC_PHASE_BIT(EXTPROC_LOCAL_REPLY)) == 0) continue;
    const Draft before = draft_;
    const PhasePlan& what = plans_[i].phase[map_];
    events_.emplace_back("local reply heard");
    write(i, "local_reply sees " + to_string(visible(map_)));
    for (const Step& step : what.steps) write(i, to_string(step) + " -> " + std::to_string(take(step, map_)));
    if (plugin.calls[map_]++ != what.outcome_at) continue;
    if (what.outcome == Outcome::kReply) write(i, "reply -> " + std::to_string(EXTPROC_TOO_LATE));
    const bool fine = what.outcome == Outcome::kContinue || what.outcome == Outcome::kFinish ||
                      what.outcome == Outcome::kReply;
    if (fine) continue;
    events_.emplace_back("local reply failed");
    draft_ = before;
    plugin.done = true;
  }
  if (observing_) {
    end(absl::StatusCode::kOk, EXTPROC_END_REPLIED, owed);
    return;
  }
  immediate.headers = visible(map_);
  remove_all(immediate.headers, ":status");
  owed.immediate = std::move(immediate);
  owed.metadata = draft_.metadata;
  life_ = Life::kReplied;
  end_plugins(EXTPROC_END_REPLIED);
}

void ServerReference::answer(const Incoming& incoming, Owed& owed) {
  if (life_ != Life::kOpen) return;
  const std::size_t side = index(incoming.side);
  changes_[incoming.phase] = draft_.changes;
  if (draft_.replacement) {
    replacement_[side] = draft_.replacement;
    closed_[side] = true;
  }
  if (incoming.side == Side::kResponse) {
    const bool held = is_headers(incoming.phase) && !incoming.end_of_stream && !draft_.replacement &&
                      (!says_modes_ || mode(Side::kResponse) == ProcessingMode::BUFFERED ||
                       mode(Side::kResponse) == ProcessingMode::BUFFERED_PARTIAL);
    response_headers_ = held ? ResponseHeaders::kHeld : ResponseHeaders::kGone;
  }
  if (observing_) return;

  static constexpr std::array kKinds = {Reply::kRequestHeaders,  Reply::kRequestBody,
                                        Reply::kRequestTrailers, Reply::kResponseHeaders,
                                        Reply::kResponseBody,    Reply::kResponseTrailers};
  Owed::Reply reply;
  reply.kind = kKinds.at(incoming.phase);
  reply.replacement = draft_.replacement;
  reply.clear_route_cache = draft_.clear_route_cache;
  if (is_body(incoming.phase) && is_duplex(mode(incoming.side))) {
    reply.streamed = true;
    reply.whole = mode(incoming.side) == ProcessingMode::GRPC;
    reply.bytes = incoming.body;
    reply.end_of_stream = incoming.end_of_stream;
    reply.end_of_stream_without_message = incoming.end_without_message;
  }
  owed.reply = std::move(reply);
  owed.metadata = draft_.metadata;
}

Headers ServerReference::visible(std::uint32_t phase) const {
  Headers headers = original_[phase];
  change(headers, draft_.changes);
  return headers;
}

std::uint32_t ServerReference::take(const Step& step, std::uint32_t phase) {
  switch (step.kind) {
    case Step::Kind::kReplaceBody:
      if (!is_headers(phase)) return EXTPROC_UNSUPPORTED;
      if (mode(phase == EXTPROC_REQUEST_HEADERS ? Side::kRequest : Side::kResponse) == ProcessingMode::GRPC) {
        return EXTPROC_UNSUPPORTED;
      }
      draft_.replacement = step.value;
      return EXTPROC_OK;
    case Step::Kind::kClearRouteCache:
      if (phase != EXTPROC_REQUEST_HEADERS) return EXTPROC_UNSUPPORTED;
      draft_.clear_route_cache = true;
      return EXTPROC_OK;
    case Step::Kind::kMetadata:
      draft_.metadata[step.name] = step.value;
      return EXTPROC_OK;
    default:
      break;
  }
  if (is_body(phase)) return EXTPROC_INVALID;
  if (!valid_name(step.name) || (step.kind != Step::Kind::kRemove && !valid_value(step.value)))
    return EXTPROC_INVALID;
  if (refuses(phase, step)) return EXTPROC_FORBIDDEN;
  draft_.changes.push_back(step);
  return EXTPROC_OK;
}

/// What the data plane would not do, under its default mutation_rules.
bool ServerReference::refuses(std::uint32_t phase, const Step& step) const {
  const std::string name = lower(step.name);
  if (grpc_data_plane_ && (name.starts_with(':') || name.starts_with("grpc-"))) return true;
  if (name == "host" || name.starts_with("x-envoy")) return true;
  if (!name.starts_with(':')) return false;
  if (step.kind != Step::Kind::kSet) return true;
  if (name == ":status") {
    return phase != EXTPROC_RESPONSE_HEADERS || step.value.size() != 3 || step.value < "200" ||
           step.value > "599";
  }
  if (phase != EXTPROC_REQUEST_HEADERS || step.value.empty()) return true;
  if (name == ":method") return !draft_.replacement;
  return name != ":path";
}

std::uint32_t ServerReference::reply_status(const PhasePlan& what) const {
  if (!can_reply_) return EXTPROC_TOO_LATE;
  for (const auto& [name, value] : what.reply_headers) {
    if (!valid_name(name) || !valid_value(value)) return EXTPROC_INVALID;
    if (refuses(EXTPROC_LOCAL_REPLY, {Step::Kind::kSet, name, value})) return EXTPROC_FORBIDDEN;
  }
  return EXTPROC_OK;
}

void ServerReference::end(absl::StatusCode code, std::uint32_t reason, Owed& owed) {
  life_ = Life::kOver;
  owed.end = observing_ ? absl::StatusCode::kOk : code;
  end_plugins(reason);
}

void ServerReference::end_plugins(std::uint32_t reason) {
  if (std::exchange(plugins_ended_, true)) return;
  for (std::size_t i = plugins_.size(); i-- > 0;) {
    if (plugins_[i].begun) write(i, "end, reason " + std::to_string(reason));
  }
}

Owed ServerReference::half_close() {
  Owed owed;
  if (life_ != Life::kOver) end(absl::StatusCode::kOk, EXTPROC_END_COMPLETED, owed);
  return owed;
}

void ServerReference::cancel(bool shutdown) {
  if (life_ == Life::kOver) return;
  life_ = Life::kOver;
  end_plugins(shutdown ? EXTPROC_END_SHUTDOWN : EXTPROC_END_CANCELLED);
}

}  // namespace extprocd::model
