// A body's way through the chain: each plugin that asked for it is a stage, whose output is the next one's input.

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "core/engine/body_access.h"
#include "core/engine/call.h"
#include "core/engine/callback.h"
#include "core/engine/chain_run.h"
#include "core/engine/phases.h"
#include "core/http/header_syntax.h"

namespace extprocd::engine {
namespace {

constexpr uint32_t kContentTooLarge = 413;
constexpr uint32_t kServiceUnavailable = 503;

std::size_t index(wire::Direction direction) { return static_cast<std::size_t>(direction); }

wire::Direction side_of(uint32_t body_phase) {
  return body_phase == EXTPROC_REQUEST_BODY ? wire::Direction::kRequest : wire::Direction::kResponse;
}

bool has_compressed(const http::BodyBuffer& body) {
  for (std::size_t i = 0; i < body.slices().size(); ++i) {
    if (body.compressed(i)) return true;
  }
  return false;
}

/// "application/json" of "application/JSON ; charset=utf-8", in the arena.
std::string_view essence(std::string_view content_type, http::Arena& arena) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && (content_type.back() == ' ' || content_type.back() == '\t')) {
    content_type.remove_suffix(1);
  }
  return http::lower_case(content_type, arena);
}

}  // namespace

PhaseResult ChainRun::run_body(uint32_t phase, uint32_t flags, bool carried, http::BodyBuffer& body) {
  phase_ = phase;
  flags_ = flags;
  step_ = 0;
  last_return_ = kNever;
  body_touched_ = false;
  if ((chain_.phases() & EXTPROC_PHASE_BIT(phase)) == 0) return {};
  carried_ = carried;
  came_empty_ = body.empty();
  return run_body_from_cursor(body);
}

PhaseResult ChainRun::run_body_from_cursor(http::BodyBuffer& body) {
  const std::size_t count = chain_.links().size();
  while (step_ < count) {
    const bool nothing_for_the_next = body.empty() && !came_empty_ && (flags_ & EXTPROC_END_OF_BODY) == 0;
    if (nothing_for_the_next) break;
    if (auto result = run_stage(position_of(step_++), body)) return std::move(*result);
  }
  return {};
}

std::optional<PhaseResult> ChainRun::run_stage(std::size_t position, http::BodyBuffer& body) {
  const wire::Direction side = side_of(phase_);
  const bool end = (flags_ & EXTPROC_END_OF_BODY) != 0;
  if (asks_for(position, phase_)) {
    if (!is_admitted(position)) return set_aside(position);
    const ChainLink& link = chain_.links()[position];
    const bool whole = link.access[index(side)] == EXTPROC_ACCESS_WHOLE;
    if (whole && end && held_size(position) + body.size() > link.max_body_bytes) {
      prepend_held(position, body);
      body_touched_ = true;
      return over_limit(position, HeldBytes::Over::kNothing, body);
    }
    if (!whole || end) return call_stage(position, body);
    http::BodyBuffer kept = std::move(body);
    body = http::BodyBuffer(kept.of_messages());
    return keep(position, std::move(kept), body);
  }
  if (!holds(position)) return std::nullopt;
  // It wants no more; what it held back goes on.
  prepend_held(position, body);
  if (carried_) return std::nullopt;
  return fail_link(position, kFailedPrecondition, undeliverable(side, exchange_.body_mode(side)),
                   /*can_skip=*/false);
}

std::optional<PhaseResult> ChainRun::call_stage(std::size_t position, http::BodyBuffer& body) {
  const ChainLink& link = chain_.links()[position];
  http::BodyBuffer input = std::move(body);
  body = http::BodyBuffer(input.of_messages());
  prepend_held(position, input);

  BodyEdit edit(std::move(input));
  extproc_call call(exchange_, link, phase_);
  UndoPoint before = set_undo_point(phase_);
  give_body(call, edit);
  if (!states_[position].begun && !begin(position, call)) {
    exchange_.body = {};
    const bool can_skip = carried_ || edit.in.empty();
    body = std::move(edit.in);
    return on_failure(position, call, before, can_skip);
  }
  const extproc_action action = call_plugin(position, call, body_flags(edit), before);
  return settle_stage(position, call, action, before, edit, body);
}

/// Shows a callback the body, and lets it change that if its access allows.
void ChainRun::give_body(extproc_call& call, BodyEdit& edit) {
  call.given = &edit;
  if (call.link.access[index(side_of(phase_))] > EXTPROC_ACCESS_OBSERVE) call.body = &edit;
  exchange_.body = edit.in.slices();
}

uint32_t ChainRun::body_flags(const BodyEdit& edit) const {
  return flags_ | (has_compressed(edit.in) ? EXTPROC_COMPRESSED_MESSAGE : 0);
}

/// What comes of a body's callback: `body` leaves with what goes on.
std::optional<PhaseResult> ChainRun::settle_stage(std::size_t position, extproc_call& call,
                                                  extproc_action action, UndoPoint& before, BodyEdit& edit,
                                                  http::BodyBuffer& body) {
  LinkState& state = states_[position];
  const wire::Direction side = side_of(phase_);
  exchange_.body = {};
  if (action == EXTPROC_SUSPEND && call.suspension != 0) return wait(position, call, before, &edit);

  if (action == EXTPROC_HOLD && may_hold(call)) {
    state.unwanted |= static_cast<uint8_t>(call.unwanted);
    http::BodyBuffer kept(edit.in.of_messages());
    kept.add_between(edit.in, edit.at, edit.in.end());
    body = std::move(edit.out);
    body_touched_ = true;
    return keep(position, std::move(kept), body);
  }
  state.waits[index(side)] = false;
  const bool can_skip = carried_ || edit.in.empty();
  const bool went_well = action == EXTPROC_CONTINUE || action == EXTPROC_FINISH;
  if (!went_well) {
    const bool replies = action == EXTPROC_REPLY && call.reply;
    if (!replies) body = std::move(edit.in);
    return on_action(position, call, action, before, can_skip);
  }
  edit.out.add_between(edit.in, edit.at, edit.in.end());
  body = std::move(edit.out);
  body_touched_ |= edit.edited;
  if (!carried_ && !body.empty()) {
    undo(before);
    return fail_link(position, kFailedPrecondition, undeliverable(side, exchange_.body_mode(side)),
                     /*can_skip=*/false);
  }
  return on_action(position, call, action, before);
}

/// Adds to what a plugin holds. Over a limit, what it holds goes back into `body`, where the answer allows it.
std::optional<PhaseResult> ChainRun::keep(std::size_t position, http::BodyBuffer kept,
                                          http::BodyBuffer& body) {
  if (kept.empty() && !holds(position)) return std::nullopt;
  body_touched_ = true;
  kept.own();
  http::BodyBuffer all(kept.of_messages());
  if (holds(position)) all = take_held(position);
  all.add(std::move(kept));
  hold(position, std::move(all));
  if (held_size(position) > chain_.links()[position].max_body_bytes)
    return over_limit(position, HeldBytes::Over::kNothing, body);
  if (const auto over = held_bytes_.over(); over != HeldBytes::Over::kNothing)
    return over_limit(position, over, body);
  return std::nullopt;
}

/// `over`: which limit of stream or server; kNothing: the plugin's own.
std::optional<PhaseResult> ChainRun::over_limit(std::size_t position, HeldBytes::Over over,
                                                http::BodyBuffer& body) {
  const ChainLink& link = chain_.links()[position];
  std::string text = "would hold more of a body than max_body_bytes, " + std::to_string(link.max_body_bytes);
  telemetry::Limit limit = telemetry::Limit::kBodySize;
  if (over == HeldBytes::Over::kStream) {
    text = "would hold more of a stream's bodies than server.limits.max_held_bytes";
    limit = telemetry::Limit::kHeldBytes;
  } else if (over == HeldBytes::Over::kServer) {
    text = "would hold more of all streams' bodies than server.limits.max_total_held_bytes";
    limit = telemetry::Limit::kTotalHeldBytes;
  }
  held_bytes_.count(limit);
  body.add(take_held(position));
  if (!exchange_.reply_possible) return fail_link(position, kResourceExhausted, std::move(text));
  states_[position].done = true;
  if (over == HeldBytes::Over::kServer) return deny(position, kServiceUnavailable, "server_holds_too_much");
  const bool request = phase_ == EXTPROC_REQUEST_BODY;
  return deny(position, request ? kContentTooLarge : link.deny_status, "body_too_large");
}

/// A failure that the host found.
std::optional<PhaseResult> ChainRun::fail_link(std::size_t position, uint32_t code, std::string text,
                                               bool can_skip) {
  extproc_call call(exchange_, chain_.links()[position], phase_);
  call.failure_code = code;
  call.failure_text = std::move(text);
  call.blameless = true;
  return on_failure(position, call, set_undo_point(phase_), can_skip);
}

/// What a plugin holds of the direction at hand; null if no plugin holds anything.
http::BodyBuffer* ChainRun::stage(std::size_t position) const {
  if (stages_ == nullptr) return nullptr;
  auto& stages = (*stages_)[index(side_of(phase_))];
  return stages.empty() ? nullptr : &stages[position];
}

std::size_t ChainRun::held_size(std::size_t position) const {
  const http::BodyBuffer* const held = stage(position);
  return held == nullptr ? 0 : held->size();
}

bool ChainRun::holds(std::size_t position) const {
  const http::BodyBuffer* const held = stage(position);
  return held != nullptr && !held->empty();
}

void ChainRun::hold(std::size_t position, http::BodyBuffer bytes) {
  if (stages_ == nullptr) stages_ = std::make_unique<Stages>();
  auto& stages = (*stages_)[index(side_of(phase_))];
  if (stages.empty()) stages.resize(chain_.links().size());
  const std::size_t before = stages[position].size();
  stages[position] = std::move(bytes);
  held_bytes_.change(chain_.links()[position].host->metrics(), before, stages[position].size());
}

http::BodyBuffer ChainRun::take_held(std::size_t position) {
  http::BodyBuffer* const held = stage(position);
  if (held == nullptr) return http::BodyBuffer(exchange_.body_mode(side_of(phase_)) == wire::BodyMode::kGrpc);
  http::BodyBuffer taken = std::move(*held);
  held_bytes_.change(chain_.links()[position].host->metrics(), taken.size(), 0);
  return taken;
}

/// Puts what a plugin holds before a body.
void ChainRun::prepend_held(std::size_t position, http::BodyBuffer& body) {
  if (!holds(position)) return;
  http::BodyBuffer all = take_held(position);
  all.add(std::move(body));
  body = std::move(all);
  body_touched_ = true;
}

void ChainRun::release_held(bool lost) {
  if (stages_ == nullptr) return;
  for (auto& stages : *stages_) {
    for (std::size_t i = 0; i < stages.size(); ++i) {
      if (lost) held_bytes_.count_lost(stages[i].size());
      held_bytes_.change(chain_.links()[i].host->metrics(), stages[i].size(), 0);
    }
  }
  stages_.reset();
}

PhaseResult ChainRun::refuse_body_access(wire::Direction direction, std::optional<wire::BodyMode> mode,
                                         bool may_override) {
  phase_ = body_phase(direction);
  const bool asks_for_another = may_override && mode == wire::BodyMode::kNone;
  for (std::size_t step = 0; step < chain_.links().size(); ++step) {
    const std::size_t position = position_of(step);
    const uint32_t access = chain_.links()[position].access[index(direction)];
    if (body_support(access, mode, false) != BodySupport::kRefused || asks_for_another) continue;
    if (!asks_for(position, phase_)) continue;
    auto result = is_admitted(position)
                      ? fail_link(position, kFailedPrecondition, body_refusal(access, direction, mode))
                      : set_aside(position);
    if (result) return std::move(*result);
  }
  return {};
}

uint32_t ChainRun::body_need(wire::Direction direction) {
  uint32_t strongest = EXTPROC_ACCESS_NONE;
  if (chain_.body_access(direction) == EXTPROC_ACCESS_NONE) return strongest;
  for (std::size_t i = 0; i < chain_.links().size(); ++i) {
    const uint32_t access = chain_.links()[i].access[index(direction)];
    if (access > strongest && asks_for(i, body_phase(direction))) strongest = access;
  }
  return strongest;
}

bool ChainRun::headers_wait(wire::Direction direction) const {
  const uint32_t bit = EXTPROC_PHASE_BIT(body_phase(direction));
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const LinkState& state = states_[i];
    const bool comes =
        !state.done && (state.unwanted & bit) == 0 && chain_.links()[i].wants(body_phase(direction));
    if (state.waits[index(direction)] && comes) return true;
  }
  return false;
}

void ChainRun::stop_waiting(wire::Direction direction) {
  for (LinkState& state : states_) state.waits[index(direction)] = false;
}

bool ChainRun::wants(uint32_t phases) {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const LinkState& state = states_[i];
    if (!state.done && (chain_.links()[i].descriptor->phases & phases & ~state.unwanted) != 0) return true;
  }
  return false;
}

bool ChainRun::holds_bytes() const {
  const auto is_full = [](const http::BodyBuffer& stage) { return !stage.empty(); };
  return stages_ != nullptr &&
         (std::ranges::any_of((*stages_)[0], is_full) || std::ranges::any_of((*stages_)[1], is_full));
}

void ChainRun::judge_body_types(const ChainLink& link, LinkState& state, wire::Direction direction) {
  if (state.types_judged[index(direction)]) return;
  const http::HeaderMap& headers = *exchange_.map(headers_phase(direction));
  // Headers that the data plane withholds tell nothing: then every body may be one of those.
  if (!headers.present()) return;
  state.types_judged[index(direction)] = true;
  const std::string_view type = essence(headers.first("content-type").value_or(""), exchange_.arena);
  const std::string_view kind = type.substr(0, type.find('/'));
  for (const char* const* wanted = link.body_types[index(direction)]; *wanted != nullptr; ++wanted) {
    if (type == *wanted || kind == *wanted) return;
  }
  state.unwanted |= static_cast<uint8_t>(EXTPROC_PHASE_BIT(body_phase(direction)));
}

bool ChainRun::reply_wants_body() const {
  const ChainLink& link = chain_.links()[replying_];
  // What may block gives all of its reply at once.
  return link.workers == nullptr && link.wants(EXTPROC_REQUEST_BODY);
}

PhaseResult ChainRun::run_reply_in_pieces(uint32_t flags, const http::BodyBuffer& body, LocalReply& reply) {
  phase_ = EXTPROC_REQUEST_BODY;
  last_return_ = kNever;
  extproc_call call(exchange_, chain_.links()[replying_], phase_);
  call.replies_in_pieces = true;
  call.reply.emplace();
  call.reply->in_pieces = true;
  call.reply->complete = false;
  exchange_.body = body.slices();
  const extproc_action action = call_plugin(replying_, call, flags, set_undo_point(phase_));
  exchange_.body = {};
  reply = std::move(*call.reply);
  if (action == EXTPROC_CONTINUE) return {};
  if (action == EXTPROC_FINISH) {
    reply.complete = true;
    return {};
  }
  return failure_of(call);
}

}  // namespace extprocd::engine
