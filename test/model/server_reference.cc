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
Side side_of(std::uint32_t phase) {
  return phase >= EXTPROC_RESPONSE_HEADERS ? Side::kResponse : Side::kRequest;
}
std::uint32_t headers_of(Side side) {
  return side == Side::kRequest ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS;
}
std::uint32_t body_of(Side side) { return headers_of(side) + 1; }

Reply::ResponseCase kind_of(std::uint32_t phase) {
  static constexpr std::array kKinds = {Reply::kRequestHeaders,  Reply::kRequestBody,
                                        Reply::kRequestTrailers, Reply::kResponseHeaders,
                                        Reply::kResponseBody,    Reply::kResponseTrailers};
  return kKinds.at(phase);
}

}  // namespace

ServerReference::ServerReference(const std::vector<PluginPlan>& plans, ServerSetup setup)
    : plans_(plans), setup_(setup), plugins_(plans.size()) {}

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

Owed ServerReference::receive(const std::string& bytes, Time now, const std::vector<WaitEnd>& ends,
                              std::optional<Time> asked) {
  Owed owed;
  time_ = now;
  ends_ = ends;
  ended_ = 0;
  waiting_.reset();
  asked_ = asked;
  to_ask_for_.reset();
  asked_by_plugin_ = false;
  try {
    take(bytes, owed);
  } catch (const Waits&) {
    // What is owed so far.
  }
  return owed;
}

void ServerReference::take(const std::string& bytes, Owed& owed) {
  if (life_ != Life::kOpen) return;
  ProcessingRequest message;
  if (!message.ParseFromString(bytes)) {
    events_.emplace_back("protocol error: unreadable");
    end(absl::StatusCode::kInvalidArgument, EXTPROC_END_PROTOCOL, owed);
    return;
  }
  if (std::exchange(first_, false)) take_in_first(message, owed);
  if (message.request_case() == ProcessingRequest::REQUEST_NOT_SET) return;
  Headers headers;
  const Incoming incoming = split(message, headers);
  if (flow(incoming.side).closed) {
    events_.emplace_back("message of a replaced direction");
    return;
  }
  if (!in_order(incoming)) {
    events_.emplace_back("protocol error: out of order");
    end(absl::StatusCode::kInvalidArgument, EXTPROC_END_PROTOCOL, owed);
    return;
  }
  const bool streamed = mode(incoming.side) && is_duplex(*mode(incoming.side));
  has_timer_ = !observing_ && !grpc_data_plane_ && !streamed;
  original_[incoming.phase] = headers;
  came_[incoming.phase] = true;
  if (is_headers(incoming.phase)) {
    on_headers(incoming, owed);
  } else if (is_body(incoming.phase)) {
    on_body(incoming, owed);
  } else {
    on_trailers(incoming, owed);
  }
  if (life_ == Life::kOpen) end_early(owed);
}

void ServerReference::take_in_first(const ProcessingRequest& message, Owed& owed) {
  observing_ = message.observability_mode();
  modes_ = setup_.stated_modes;
  if (message.has_protocol_config()) {
    const auto& config = message.protocol_config();
    const auto known = [](BodyMode told) {
      return ProcessingMode::BodySendMode_IsValid(told) ? told : ProcessingMode::NONE;
    };
    modes_ = {known(config.request_body_mode()), known(config.response_body_mode())};
  }
  grpc_data_plane_ =
      message.has_flow_control_init() || of_messages(Side::kRequest) || of_messages(Side::kResponse);
  owed.window_update = message.has_flow_control_init() && !observing_;
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
  Order& order = flow(incoming.side).order;
  if (order == Order::kEnded) return false;
  if (is_headers(incoming.phase) && order != Order::kIdle) return false;
  const bool trailers = !is_headers(incoming.phase) && !is_body(incoming.phase);
  order = incoming.end_of_stream || trailers ? Order::kEnded : Order::kOpen;
  return true;
}

bool ServerReference::reply_possible(Side side, std::uint32_t phase) const {
  if (response_headers_ == ResponseHeaders::kGone) return false;
  if (side == Side::kRequest || is_headers(phase)) return true;
  return is_body(phase) && response_headers_ == ResponseHeaders::kHeld;
}

void ServerReference::begin_phase(Side side, std::uint32_t phase) {
  can_reply_ = reply_possible(side, phase);
  map_ = is_body(phase) ? headers_of(side) : phase;
  draft_ = {};
  draft_.metadata = metadata_;
}

void ServerReference::on_headers(const Incoming& incoming, Owed& owed) {
  const Side side = incoming.side;
  Flow& here = flow(side);
  const bool body_follows = !incoming.end_of_stream;
  begin_phase(side, incoming.phase);
  if (body_follows && !judge_access(side, owed)) return;
  if (!run_chain(incoming.phase, incoming.end_of_stream ? EXTPROC_END_OF_STREAM : 0, owed)) return;
  ask_for_time(owed);
  keep_changes(incoming.phase);
  here.replacement = draft_.replacement;
  here.closed = draft_.replacement.has_value();
  const bool waits = headers_can_wait(side, body_follows && !here.closed);
  if (!waits) stop_waiting(side);
  if (side == Side::kResponse) {
    const auto may_hold = [&](BodyMode of) { return mode(side).value_or(of) == of; };
    const bool held =
        body_follows && !here.closed &&
        (waits || may_hold(ProcessingMode::BUFFERED) || may_hold(ProcessingMode::BUFFERED_PARTIAL));
    response_headers_ = held ? ResponseHeaders::kHeld : ResponseHeaders::kGone;
  }
  Owed::Reply reply;
  reply.kind = kind_of(incoming.phase);
  reply.replacement = here.replacement;
  here.without_length = body_follows && !here.closed && loses_content_length(side);
  if (waits) {
    events_.emplace_back("headers wait for the body");
    here.waiting = std::move(reply);
    here.waited = true;
    return;
  }
  send(std::move(reply), owed);
}

/// In these modes a body may come out longer or shorter than the headers say that it is.
bool ServerReference::loses_content_length(Side side) const {
  if (mode(side) == ProcessingMode::BUFFERED) return false;
  // Where the mode is not told there may be one that is not shown, which Envoy compares.
  const bool shown = first_value(visible(headers_of(side)), "content-length").has_value();
  if (!shown && mode(side)) return false;
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    if (wants(i, body_of(side)) && plans_[i].body_access[index(side)] > EXTPROC_ACCESS_OBSERVE) return true;
  }
  return false;
}

/// Fails the plugins that the direction's body mode does not suit. False: the stream is over.
bool ServerReference::judge_access(Side side, Owed& owed) {
  if (observing_ || std::exchange(flow(side).access_judged, true)) return true;
  for (std::size_t step = 0; step < plans_.size(); ++step) {
    const std::size_t position = position_of(step, side);
    if (!wants(position, body_of(side))) continue;
    const std::uint32_t access = plans_[position].body_access[index(side)];
    const bool changes = access > EXTPROC_ACCESS_OBSERVE;
    const bool keeps = access == EXTPROC_ACCESS_WHOLE || access == EXTPROC_ACCESS_STREAM;
    const auto at = mode(side);
    const bool refused = at ? (*at == ProcessingMode::NONE && changes) ||
                                  (*at == ProcessingMode::GRPC && access == EXTPROC_ACCESS_WHOLE)
                            : keeps;
    if (!refused) continue;
    events_.emplace_back("access refused");
    if (!fail(position, kFailedPrecondition, owed)) return false;
  }
  return true;
}

/// A headers or trailers phase. False: the chain stops.
bool ServerReference::run_chain(std::uint32_t phase, std::uint32_t flags, Owed& owed) {
  for (std::size_t step = 0; step < plans_.size(); ++step) {
    const std::size_t position = position_of(step, side_of(phase));
    if (!wants(position, phase)) continue;
    if (call(position, phase, flags, nullptr, owed) == Went::kStopped) return false;
  }
  return true;
}

void ServerReference::on_body(const Incoming& incoming, Owed& owed) {
  const Side side = incoming.side;
  Flow& here = flow(side);
  Pieces body;
  if (!incoming.body.empty() || (of_messages(side) && !incoming.end_without_message))
    body.push_back(incoming.body);
  append(here.received, body);
  begin_phase(side, incoming.phase);
  if (!judge_access(side, owed)) return;

  std::uint32_t flags = incoming.end_of_stream ? EXTPROC_END_OF_STREAM | EXTPROC_END_OF_BODY : 0;
  if (mode(side) == ProcessingMode::BUFFERED) flags |= EXTPROC_END_OF_BODY;
  if (mode(side) == ProcessingMode::BUFFERED_PARTIAL) {
    flags |= EXTPROC_END_OF_BODY | (incoming.end_of_stream ? 0 : EXTPROC_PARTIAL_BODY);
  }
  const bool ends = (flags & EXTPROC_END_OF_BODY) != 0;
  here.end_told = here.end_told || ends;
  carried_ = true;
  if (!run_body(side, flags, body.empty(), body, owed)) return;
  ask_for_time(owed);
  const bool changed_headers = !draft_.changes.empty();
  keep_changes(map_);
  if (ends) stop_waiting(side);
  append(here.let_go, body);
  if (streams(side)) {
    let_go(side, std::move(body), incoming.end_of_stream, owed);
  } else {
    Owed::Reply reply;
    reply.kind = kind_of(incoming.phase);
    reply.body = std::move(body);
    reply.original = incoming.body;
    reply.may_mutate_body = changes_body(side);
    reply.may_mutate_headers = changed_headers || reply.may_mutate_body;
    send(std::move(reply), owed);
  }
  if (side == Side::kResponse && !here.waiting) response_headers_ = ResponseHeaders::kGone;
}

void ServerReference::on_trailers(const Incoming& incoming, Owed& owed) {
  const Side side = incoming.side;
  Flow& here = flow(side);
  if (!std::exchange(here.end_told, true) && mode(side) != ProcessingMode::NONE) {
    begin_phase(side, body_of(side));
    events_.emplace_back("trailers tell the end of the body");
    Pieces body;
    carried_ = (streams(side) && came_[body_of(side)]) || observing_;
    if (!run_body(side, EXTPROC_END_OF_BODY, false, body, owed)) return;
    ask_for_time(owed);
    keep_changes(map_);
    stop_waiting(side);
    append(here.let_go, body);
    if (streams(side)) let_go(side, std::move(body), false, owed);
  }
  begin_phase(side, incoming.phase);
  if (!run_chain(incoming.phase, 0, owed)) return;
  ask_for_time(owed);
  keep_changes(incoming.phase);
  Owed::Reply reply;
  reply.kind = kind_of(incoming.phase);
  send(std::move(reply), owed);
  if (side == Side::kResponse) response_headers_ = ResponseHeaders::kGone;
}

/// A body phase: what one plugin lets through is what the next one gets. False: the chain stops.
bool ServerReference::run_body(Side side, std::uint32_t flags, bool empty, Pieces& body, Owed& owed) {
  for (std::size_t step = 0; step < plans_.size(); ++step) {
    const bool goes_on = !body.empty() || empty || (flags & EXTPROC_END_OF_BODY) != 0;
    if (goes_on && !run_stage(position_of(step, side), side, flags, body, owed)) return false;
  }
  return true;
}

bool ServerReference::run_stage(std::size_t position, Side side, std::uint32_t flags, Pieces& body,
                                Owed& owed) {
  Plugin& plugin = plugins_[position];
  const PluginPlan& plan = plans_[position];
  Pieces& held = plugin.held[index(side)];
  const auto put_held_before = [&] {
    Pieces all = std::exchange(held, {});
    append(all, body);
    body = std::move(all);
  };
  if (!wants(position, body_of(side))) {
    if (held.empty()) return true;
    events_.emplace_back("what a plugin held goes on without it");
    put_held_before();
    return carried_ || fail(position, kFailedPrecondition, owed, false);
  }
  const std::uint32_t access = plan.body_access[index(side)];
  const bool ends = (flags & EXTPROC_END_OF_BODY) != 0;
  put_held_before();
  if (access == EXTPROC_ACCESS_WHOLE) {
    if (size_of(body) > plan.max_body_bytes) return too_large(position, side, owed);
    if (!ends) {
      if (!body.empty()) events_.emplace_back("held by whole");
      held = std::exchange(body, {});
      return true;
    }
  }
  events_.push_back("called with access " + access_name(access) + " in " +
                    (mode(side) ? ProcessingMode::BodySendMode_Name(*mode(side)) : "a mode not told"));
  const Draft before = draft_;
  BodyCall edits(body, of_messages(side), access > EXTPROC_ACCESS_OBSERVE);
  const Went went = call(position, body_of(side), flags, &edits, owed);
  if (went == Went::kStopped) return false;
  if (went != Went::kHeld) plugin.waits[index(side)] = false;
  if (went == Went::kFailed) return true;
  body = went == Went::kHeld ? edits.out() : edits.all();
  if (!of_messages(side)) std::erase(body, "");
  if (went == Went::kHeld) {
    held = edits.rest();
    if (!held.empty()) events_.emplace_back("held by stream");
    if (size_of(held) > plan.max_body_bytes) {
      append(body, std::exchange(held, {}));
      return too_large(position, side, owed);
    }
  }
  if (carried_ || body.empty()) return true;
  events_.emplace_back("bytes that nothing carries");
  draft_ = before;
  return fail(position, kFailedPrecondition, owed, false);
}

/// 413 to a request, what the operator chose to a response, or the plugin's policy.
bool ServerReference::too_large(std::size_t position, Side side, Owed& owed) {
  events_.emplace_back(can_reply_ ? "too large a body" : "too large a body, too late");
  if (!can_reply_)
    return fail(position, static_cast<std::uint32_t>(absl::StatusCode::kResourceExhausted), owed);
  plugins_[position].done = true;
  reply(position,
        {.status = side == Side::kRequest ? 413 : kDenyStatus,
         .body = {},
         .details = "extproc_p" + std::to_string(position) + "_body_too_large",
         .grpc_status = -1,
         .headers = {}},
        owed);
  return false;
}

ServerReference::Went ServerReference::call(std::size_t position, std::uint32_t phase, std::uint32_t flags,
                                            BodyCall* body, Owed& owed) {
  const PluginPlan& plan = plans_[position];
  Plugin& plugin = plugins_[position];
  const bool can_skip = body == nullptr || carried_ || body->shown().empty();
  const auto failed = [&](std::uint32_t code) {
    return fail(position, code, owed, can_skip) ? Went::kFailed : Went::kStopped;
  };
  if (!plugin.begun) {
    write(position, "begin");
    if (plan.fails_to_begin) events_.emplace_back("outcome fails to begin");
    if (plan.fails_to_begin) return failed(plan.phase[0].fail_code);
    plugin.begun = true;
  }
  const Draft before = draft_;
  const PhasePlan& what = plan.phase[phase];
  const std::uint32_t number = plugin.calls[phase]++;
  const Time began = time_;
  const auto seen = [&] {
    return body != nullptr ? pieces_seen(body->shown(), of_messages(side_of(phase)))
                           : to_string(visible(phase));
  };
  write(position, phase_name(phase) + flag_names(flags) + " sees " + seen());
  if (has_bit(what.busy, number)) take_steps(position, phase, what.steps, body);
  time_ += what.takes;
  const std::size_t pauses = has_bit(what.waits, number) ? what.pauses.size() : 0;
  for (std::size_t pause = 0; pause < pauses && suspends(position, phase, pause, began); ++pause) {
    const WaitEnd end = wait(owed);
    if (end.kind != WaitEnd::Kind::kResumed) {
      write(position, phase_name(phase) + " cancelled, reason " + std::to_string(EXTPROC_CANCEL_TIMEOUT));
      draft_ = before;
      why_ = why_too_late(position, phase, end);
      return failed(kDeadlineExceeded);
    }
    write(position, phase_name(phase) + flag_names(flags) + " resumed with " + std::to_string(end.token) +
                        " sees " + seen());
    take_steps(position, phase, what.steps_resumed, body);
    time_ += what.takes;
  }
  const std::uint32_t timeout = plan.timeouts.at(phase);
  const bool too_late = timeout != 0 && time_ - began > timeout;

  const bool may_hold = what.holds_at_end || (flags & (EXTPROC_END_OF_BODY | EXTPROC_END_OF_STREAM)) == 0;
  const bool holds = may_hold && has_bit(what.holds, number);
  const Outcome outcome = number == what.outcome_at ? what.outcome : Outcome::kContinue;
  if (outcome != Outcome::kContinue) events_.push_back("outcome " + to_string(outcome));
  bool replies = false;
  std::uint32_t code = kUnknown;
  switch (outcome) {
    case Outcome::kFinish:
      if (too_late) break;
      plugin.done = true;
      return Went::kOn;
    case Outcome::kReply: {
      const std::uint32_t status = reply_status(what);
      write(position, "reply -> " + std::to_string(status));
      events_.push_back("reply() answers " + std::to_string(status));
      replies = status == EXTPROC_OK;
      if (!replies || too_late) break;
      const std::string name = "p" + std::to_string(position);
      reply(position,
            {.status = what.reply_status,
             .body = "reply of " + name,
             .details = name + "_replied",
             .grpc_status = what.reply_grpc_status,
             .headers = what.reply_headers},
            owed);
      return Went::kStopped;
    }
    case Outcome::kFail:
      code = what.fail_code;
      break;
    default:
      break;
  }
  const bool goes_on = (outcome == Outcome::kContinue || outcome == Outcome::kReply) && !replies;
  const bool can_hold = body != nullptr && (flags & EXTPROC_END_OF_BODY) == 0 &&
                        plan.body_access[index(side_of(phase))] == EXTPROC_ACCESS_STREAM;
  const bool holds_in_vain = goes_on && holds && !is_headers(phase) && !can_hold;
  const bool answers = (goes_on && !holds_in_vain) || replies || outcome == Outcome::kFinish;
  if (answers && too_late) {
    events_.emplace_back("too late without waiting");
    draft_ = before;
    why_ = why_too_late(position, phase, {WaitEnd::Kind::kTimeout, 0, 0});
    return failed(kDeadlineExceeded);
  }
  if (goes_on && !holds) return Went::kOn;
  if (goes_on && is_headers(phase)) {
    plugin.waits[index(side_of(phase))] = true;
    return Went::kOn;
  }
  if (goes_on && can_hold) return Went::kHeld;
  if (holds_in_vain) events_.emplace_back("held where nothing can be");
  if (!draft_.changes.empty() || draft_.replacement) events_.emplace_back("changes taken back");
  draft_ = before;
  return failed(code);
}

/// Does the callback that has taken its steps wait? Writes down what it is told on that.
bool ServerReference::suspends(std::size_t position, std::uint32_t phase, std::size_t number, Time began) {
  const Pause& pause = plans_[position].phase[phase].pauses[number];
  if (phase == EXTPROC_LOCAL_REPLY) {
    write(position, "suspend -> " + std::to_string(EXTPROC_UNSUPPORTED));
    return false;
  }
  const std::size_t suspension = suspensions_++;
  write(position, "suspend -> " + std::to_string(EXTPROC_OK));
  if (pause.asks_twice) write(position, "suspend again -> " + std::to_string(EXTPROC_LIMIT));
  if (pause.after) write(position, "resume_after -> " + std::to_string(EXTPROC_OK));
  if (pause.resumes_at_once) {
    write(position, "resume -> " + std::to_string(EXTPROC_OK));
    resumed_at_once_.emplace_back(suspension, kTokenAtOnce + number);
  }
  if (pause.forgotten) {
    events_.emplace_back("suspension forgotten");
    return false;
  }
  Wait& wait = waiting_.emplace();
  wait.suspension = suspension;
  wait.position = position;
  wait.phase = phase;
  if (plans_[position].timeouts.at(phase) != 0) wait.until = began + plans_[position].timeouts.at(phase);
  if (pause.after) wait.resume = time_ + *pause.after;
  wait.token = kTokenOfTimer + number;
  return true;
}

/// How the wait that has just begun ends.
WaitEnd ServerReference::wait(Owed& owed) {
  ask_for_time(owed);
  if (ended_ == ends_.size()) throw Waits();
  const WaitEnd end = ends_[ended_++];
  waiting_.reset();
  time_ = end.at;
  return end;
}

std::uint32_t ServerReference::extend(std::size_t millis) {
  if (millis == 0) return EXTPROC_INVALID;
  if (!has_timer_ || millis > setup_.max_message_timeout) return EXTPROC_UNSUPPORTED;
  if (to_ask_for_ || asked_by_plugin_ || (asked_ && *asked_ <= time_)) return EXTPROC_LIMIT;
  to_ask_for_ = millis;
  return EXTPROC_OK;
}

/// What a plugin wants goes out when it waits, or before the answer.
void ServerReference::ask_for_time(Owed& owed) {
  if (!to_ask_for_) return;
  events_.emplace_back("more time asked for by a plugin");
  owed.more_time.push_back(*std::exchange(to_ask_for_, std::nullopt));
  asked_by_plugin_ = true;
}

std::string ServerReference::why_too_late(std::size_t position, std::uint32_t phase,
                                          const WaitEnd& end) const {
  if (end.kind == WaitEnd::Kind::kDeadline) {
    return "did not answer before the chain's deadline, " + std::to_string(setup_.deadline) + "ms";
  }
  return "did not answer within " + std::to_string(plans_[position].timeouts.at(phase)) + "ms";
}

void ServerReference::take_steps(std::size_t position, std::uint32_t phase, const std::vector<Step>& steps,
                                 BodyCall* body) {
  for (const Step& step : steps) {
    write(position, to_string(step) + " -> " + std::to_string(take(position, step, phase, body)));
  }
  if (body == nullptr || steps.empty()) return;
  const std::uint32_t map = headers_of(side_of(phase));
  write(position, "headers now " + (came_[map] ? to_string(visible(map)) : "no headers"));
}

/// False: the chain stops here.
bool ServerReference::fail(std::size_t position, std::uint32_t code, Owed& owed, bool can_skip) {
  std::string why = std::exchange(why_, {});
  plugins_[position].done = true;
  config::FailurePolicy policy = plans_[position].on_error;
  if (policy == config::FailurePolicy::kSkip && !can_skip) policy = config::FailurePolicy::kFail;
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
  if (!observing_) owed.why = std::move(why);
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
    if (i == position || !plugin.begun) continue;
    if (!wants(i, EXTPROC_LOCAL_REPLY)) continue;
    const Draft before = draft_;
    const PhasePlan& what = plans_[i].phase[map_];
    events_.emplace_back("local reply heard");
    write(i, "local_reply sees " + to_string(visible(map_)));
    for (const Step& step : what.steps) {
      write(i, to_string(step) + " -> " + std::to_string(take(i, step, map_, nullptr)));
    }
    time_ += what.takes;
    const std::uint32_t number = plugin.calls[map_]++;
    const bool tries_to_wait = has_bit(what.waits, number) && !what.pauses.empty();
    if (tries_to_wait) static_cast<void>(suspends(i, map_, 0, time_));
    if (number != what.outcome_at) continue;
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
  for (const auto& [key, value] : draft_.metadata) owed.metadata[key] = value;
  life_ = Life::kReplied;
  end_plugins(EXTPROC_END_REPLIED);
}

void ServerReference::keep_changes(std::uint32_t phase) {
  auto& kept = changes_[phase];
  kept.insert(kept.end(), draft_.changes.begin(), draft_.changes.end());
  draft_.changes.clear();
  metadata_ = draft_.metadata;
  clear_route_cache_ = clear_route_cache_ || draft_.clear_route_cache;
}

void ServerReference::stop_waiting(Side side) {
  for (Plugin& plugin : plugins_) plugin.waits[index(side)] = false;
}

/// Will the reply to headers, which has just been made, wait for the body?
bool ServerReference::headers_can_wait(Side side, bool body_follows) const {
  return somebody_waits(side) && body_follows && mode(side) == ProcessingMode::FULL_DUPLEX_STREAMED &&
         !observing_ && !upgrades();
}

bool ServerReference::somebody_waits(Side side) const {
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (plugins_[i].waits[index(side)] && wants(i, body_of(side))) return true;
  }
  return false;
}

bool ServerReference::upgrades() const {
  return first_value(original_[EXTPROC_REQUEST_HEADERS], "upgrade").has_value() ||
         first_value(original_[EXTPROC_RESPONSE_HEADERS], ":status") == "101";
}

bool ServerReference::headers_held(Side side) const {
  if (flow(side).waiting) return true;
  const bool buffers =
      mode(side) == ProcessingMode::BUFFERED || mode(side) == ProcessingMode::BUFFERED_PARTIAL;
  return buffers && came_[headers_of(side)] && carried_;
}

bool ServerReference::changes_body(Side side) const {
  return std::ranges::any_of(
      plans_, [&](const PluginPlan& plan) { return plan.body_access[index(side)] > EXTPROC_ACCESS_OBSERVE; });
}

bool ServerReference::wants(std::size_t position, std::uint32_t phase) const {
  const Plugin& plugin = plugins_[position];
  return !plugin.done && ((plans_[position].phases & ~plugin.unwanted) & EXTPROC_PHASE_BIT(phase)) != 0;
}

/// Bytes of a mode in which the server says itself in how many pieces they go on, behind the headers if those waited.
void ServerReference::let_go(Side side, Pieces body, bool end_of_stream, Owed& owed) {
  Flow& here = flow(side);
  append(here.behind, body);
  if (here.waiting) {
    if (somebody_waits(side)) return;
    send(*std::exchange(here.waiting, std::nullopt), owed);
  }
  body = std::exchange(here.behind, {});
  if (body.empty() && !end_of_stream) return;
  Owed::Reply reply;
  reply.kind = kind_of(body_of(side));
  reply.streamed = true;
  reply.messages = of_messages(side);
  reply.body = std::move(body);
  reply.end_of_stream = end_of_stream;
  send(std::move(reply), owed);
}

void ServerReference::send(Owed::Reply reply, Owed& owed) {
  if (observing_) return;
  const bool of_request = reply.kind == Reply::kRequestHeaders || reply.kind == Reply::kRequestBody;
  if (of_request && !reply.streamed) reply.clear_route_cache = std::exchange(clear_route_cache_, false);
  owed.replies.push_back(std::move(reply));
  for (const auto& [key, value] : std::exchange(metadata_, {})) owed.metadata[key] = value;
}

bool ServerReference::body_comes(Side side) const {
  return flow(side).order != Order::kEnded && !flow(side).closed && mode(side) != ProcessingMode::NONE;
}

bool ServerReference::nobody_wants_more() const {
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    if (!plugins_[i].held[0].empty() || !plugins_[i].held[1].empty()) return false;
    for (const Side side : {Side::kRequest, Side::kResponse}) {
      const Flow& here = flow(side);
      if (here.order == Order::kEnded || here.closed) continue;
      const bool wanted = (here.order == Order::kIdle && wants(i, headers_of(side))) ||
                          (body_comes(side) && wants(i, body_of(side))) || wants(i, body_of(side) + 1);
      if (wanted) return false;
    }
  }
  return true;
}

/// Nobody wants what may still come: the data plane does the rest alone, unless that would spare it nothing.
void ServerReference::end_early(Owed& owed) {
  if (!setup_.early_end || observing_ || grpc_data_plane_ || !modes_[0] || !modes_[1]) return;
  if (streams(Side::kRequest) || streams(Side::kResponse)) return;
  const auto has_more_than_trailers = [&](Side side) {
    const Flow& here = flow(side);
    return body_comes(side) || (here.order == Order::kIdle && !here.closed);
  };
  if (!has_more_than_trailers(Side::kRequest) && !has_more_than_trailers(Side::kResponse)) return;
  if (!nobody_wants_more()) return;
  events_.emplace_back("ended early");
  ended_early_ = true;
  end(absl::StatusCode::kOk, EXTPROC_END_COMPLETED, owed);
}

Headers ServerReference::visible(std::uint32_t phase) const {
  Headers headers = original_[phase];
  change(headers, changes_[phase]);
  if (phase == map_) change(headers, draft_.changes);
  return headers;
}

std::uint32_t ServerReference::take(std::size_t position, const Step& step, std::uint32_t phase,
                                    BodyCall* body) {
  switch (step.kind) {
    case Step::Kind::kReplaceBody:
      if (!is_headers(phase) || of_messages(side_of(phase))) return EXTPROC_UNSUPPORTED;
      draft_.replacement = step.value;
      return EXTPROC_OK;
    case Step::Kind::kClearRouteCache:
      if (phase != EXTPROC_REQUEST_HEADERS &&
          !(phase == EXTPROC_REQUEST_BODY && headers_held(Side::kRequest))) {
        return EXTPROC_UNSUPPORTED;
      }
      draft_.clear_route_cache = true;
      return EXTPROC_OK;
    case Step::Kind::kMetadata:
      draft_.metadata[step.name] = step.value;
      return EXTPROC_OK;
    case Step::Kind::kWrite:
    case Step::Kind::kForward:
    case Step::Kind::kDrop:
      return body == nullptr ? EXTPROC_TOO_LATE : body->take(step);
    case Step::Kind::kSkip:
      plugins_[position].unwanted |= step.phases;
      return EXTPROC_OK;
    case Step::Kind::kExtend:
      return extend(step.size);
    default:
      return edit(step, phase);
  }
}

std::uint32_t ServerReference::edit(const Step& step, std::uint32_t phase) {
  if (is_body(phase)) {
    const Side side = side_of(phase);
    if (!came_[headers_of(side)]) return EXTPROC_NOT_FOUND;
    if (!headers_held(side)) return EXTPROC_TOO_LATE;
  }
  if (!valid_name(step.name) || (step.kind != Step::Kind::kRemove && !valid_value(step.value)))
    return EXTPROC_INVALID;
  if (refuses(map_, step)) return EXTPROC_FORBIDDEN;
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
  if (waiting_) {
    write(waiting_->position,
          phase_name(waiting_->phase) + " cancelled, reason " + std::to_string(EXTPROC_CANCEL_STREAM_OVER));
    waiting_.reset();
  }
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
