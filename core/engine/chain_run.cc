#include "core/engine/chain_run.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/callback.h"
#include "core/engine/matching.h"
#include "core/http/header_syntax.h"
#include "core/http/utf8.h"

namespace extprocd::engine {
namespace {

using telemetry::CallResult;

bool is_response(uint32_t phase) {
  return phase == EXTPROC_RESPONSE_HEADERS || phase == EXTPROC_RESPONSE_BODY ||
         phase == EXTPROC_RESPONSE_TRAILERS;
}

std::optional<wire::Direction> headers_side(uint32_t phase) {
  if (phase == EXTPROC_REQUEST_HEADERS) return wire::Direction::kRequest;
  if (phase == EXTPROC_RESPONSE_HEADERS) return wire::Direction::kResponse;
  return std::nullopt;
}

std::optional<wire::Direction> body_side(uint32_t phase) {
  if (phase == EXTPROC_REQUEST_BODY) return wire::Direction::kRequest;
  if (phase == EXTPROC_RESPONSE_BODY) return wire::Direction::kResponse;
  return std::nullopt;
}

std::string phase_name(uint32_t phase) {
  return std::string(telemetry::to_string(static_cast<telemetry::Phase>(phase)));
}

CallResult result_of(extproc_action action, const extproc_call& call, bool holds, bool mutated) {
  switch (action) {
    case EXTPROC_SUSPEND:
      return call.suspension != 0 ? CallResult::kPending : CallResult::kError;
    case EXTPROC_CONTINUE:
      return mutated ? CallResult::kMutated : CallResult::kOk;
    case EXTPROC_REPLY:
      return call.reply ? CallResult::kReplied : CallResult::kError;
    case EXTPROC_FINISH:
      return CallResult::kFinished;
    case EXTPROC_HOLD:
      return holds ? CallResult::kHeld : CallResult::kError;
    default:
      return CallResult::kError;
  }
}

}  // namespace

ChainRun::ChainRun(const Chain& chain, Exchange& exchange, HeldBytes& held_bytes, Sink& sink,
                   Suspensions::Waiter& waiter, const std::shared_ptr<const Generation>& generation)
    : chain_(chain),
      exchange_(exchange),
      held_bytes_(held_bytes),
      sink_(sink),
      waiter_(waiter),
      generation_(generation) {
  const std::size_t count = chain.links().size();
  if (count == 0) return;
  auto* states =
      static_cast<LinkState*>(exchange.arena.allocate(count * sizeof(LinkState), alignof(LinkState)));
  for (std::size_t i = 0; i < count; ++i) new (&states[i]) LinkState();
  states_ = {states, count};
}

ChainRun::~ChainRun() {
  cancel_waiting();
  release_held(/*lost=*/false);
}

void* ChainRun::state_of(const ChainLink& link) {
  if (link.descriptor->stream_state_size == 0) return nullptr;
  if (memory_ == nullptr) {
    memory_ = static_cast<std::byte*>(exchange_.arena.allocate(chain_.state_size(), Chain::kStateAlign));
  }
  return memory_ + link.state_offset;
}

PhaseResult ChainRun::run(uint32_t phase, uint32_t flags) {
  phase_ = phase;
  flags_ = flags;
  step_ = 0;
  last_return_ = kNever;
  if ((chain_.phases() & EXTPROC_PHASE_BIT(phase)) == 0) return {};
  return run_from_cursor();
}

std::size_t ChainRun::position_of(std::size_t step) const {
  const bool reversed = is_response(phase_) && chain_.response_order() == config::ResponseOrder::kReverse;
  return reversed ? chain_.links().size() - 1 - step : step;
}

PhaseResult ChainRun::run_from_cursor() {
  const std::size_t count = chain_.links().size();
  while (step_ < count) {
    if (auto result = run_link(position_of(step_++))) return std::move(*result);
  }
  return {};
}

std::optional<PhaseResult> ChainRun::run_link(std::size_t position) {
  if (!asks_for(position, phase_)) return std::nullopt;
  if (!is_admitted(position)) return set_aside(position);
  extproc_call call(exchange_, chain_.links()[position], phase_);
  UndoPoint before = set_undo_point(phase_);
  if (!states_[position].begun && !begin(position, call)) return on_failure(position, call, before);
  const extproc_action action = call_plugin(position, call, flags_, before);
  return settle(position, call, action, before);
}

/// What comes of a callback of a phase without a body.
std::optional<PhaseResult> ChainRun::settle(std::size_t position, extproc_call& call, extproc_action action,
                                            UndoPoint& before) {
  if (action == EXTPROC_SUSPEND && call.suspension != 0) return wait(position, call, before, nullptr);
  if (action == EXTPROC_HOLD && headers_side(phase_)) {
    states_[position].waits[static_cast<std::size_t>(*headers_side(phase_))] = true;
    states_[position].unwanted |= static_cast<uint8_t>(call.unwanted);
    return std::nullopt;
  }
  return on_action(position, call, action, before);
}

/// Does EXTPROC_HOLD mean anything in this callback?
bool ChainRun::may_hold(const extproc_call& call) const {
  if (headers_side(call.phase)) return true;
  const auto side = body_side(call.phase);
  return side && call.link.access[static_cast<std::size_t>(*side)] == EXTPROC_ACCESS_STREAM &&
         (flags_ & EXTPROC_END_OF_BODY) == 0;
}

/// What comes of a callback that is over; of EXTPROC_HOLD, too, where nothing can be held.
std::optional<PhaseResult> ChainRun::on_action(std::size_t position, extproc_call& call,
                                               extproc_action action, const UndoPoint& before,
                                               bool can_skip) {
  LinkState& state = states_[position];
  if (action == EXTPROC_CONTINUE || action == EXTPROC_FINISH) {
    state.unwanted |= static_cast<uint8_t>(call.unwanted);
    state.done = action == EXTPROC_FINISH;
    return std::nullopt;
  }
  if (action == EXTPROC_REPLY && call.reply) {
    call.link.host->metrics().immediate_responses->add();
    replying_ = static_cast<uint32_t>(position);
    return reply_with(position, std::move(*call.reply));
  }
  if (action == EXTPROC_REPLY) call.failure_text = "answered EXTPROC_REPLY without a reply";
  if (action == EXTPROC_HOLD) {
    call.failure_text =
        "answered EXTPROC_HOLD where nothing can be held: that takes a headers phase, or a body phase with "
        "access "
        "stream before the body's end";
  }
  if (action == EXTPROC_SUSPEND) call.failure_text = "answered EXTPROC_SUSPEND without a handle of suspend()";
  if (action > EXTPROC_SUSPEND) call.failure_text = "answered an unknown action " + std::to_string(action);
  return on_failure(position, call, before, can_skip);
}

/// Is the plugin to be called for a phase?
bool ChainRun::asks_for(std::size_t position, uint32_t phase) {
  const ChainLink& link = chain_.links()[position];
  LinkState& state = states_[position];
  if (state.done || !link.wants(phase) || (state.unwanted & EXTPROC_PHASE_BIT(phase)) != 0) return false;
  if (link.when != nullptr && !takes_part(link, state, phase)) return false;
  if (const auto side = body_side(phase);
      side && link.body_types[static_cast<std::size_t>(*side)] != nullptr) {
    judge_body_types(link, state, *side);
  }
  return (state.unwanted & EXTPROC_PHASE_BIT(phase)) == 0;
}

bool ChainRun::takes_part(const ChainLink& link, LinkState& state, uint32_t phase) {
  if (!state.request_judged) {
    state.request_judged = true;
    // Not for this stream at all: headers that have not come by the plugin's first phase never will.
    if (!fits(link.when->request, exchange_)) {
      state.done = true;
      return false;
    }
  }
  return fits_direction(*link.when, exchange_, phase);
}

bool ChainRun::begin(std::size_t position, extproc_call& call) {
  const ChainLink& link = chain_.links()[position];
  if (link.workers != nullptr) return true;  // on the worker, before its first callback
  states_[position].begun = call_begin(call, state_of(link), exchange_.facts);
  return states_[position].begun;
}

/// `token`: of a plugin that goes on after waiting; else null.
extproc_action ChainRun::call_plugin(std::size_t position, extproc_call& call, uint32_t flags,
                                     const UndoPoint& before, const uint64_t* token) {
  const ChainLink& link = chain_.links()[position];
  if (link.workers != nullptr) return call_on_worker(position, call, flags, token);
  call.may_edit = true;
  call.site = this;
  // The clock is read once between two plugins: it costs as much as calling a plugin does.
  const Clock::time_point start = last_return_ != kNever ? last_return_ : now();
  if (token == nullptr) call.began = start;
  const extproc_action action = call_phase(call, state_of(link), flags, token);
  last_return_ = now();
  const auto spent = last_return_ - start;
  call.may_edit = false;
  states_[position].spent += spent;
  link.host->metrics().durations[call.phase]->observe(std::chrono::duration<double>(spent).count());
  return judge(position, call, action, last_return_, before);
}

/// Counts what came of a callback; another action than its own if it returned too late.
extproc_action ChainRun::judge(std::size_t position, extproc_call& call, extproc_action action,
                               Clock::time_point returned, const UndoPoint& before) {
  const ChainLink& link = chain_.links()[position];
  const auto& metrics = link.host->metrics();
  const http::HeaderMap* map = exchange_.editable_map(call.phase);
  const bool mutated = (map != nullptr && map->edited_since_undo_point()) ||
                       exchange_.replacement_body != before.replacement_body ||
                       (call.body != nullptr && call.body->edited);
  const bool holds = action == EXTPROC_HOLD && may_hold(call);
  CallResult result = result_of(action, call, holds, mutated);
  const bool answered = result != CallResult::kError && result != CallResult::kPending;
  const Duration timeout = link.timeout(call.phase);
  if (answered && timeout != Duration::zero() && returned - call.began > timeout) {
    result = CallResult::kTimeout;
    action = EXTPROC_FAIL;
    call.failure_code = kDeadlineExceeded;
    call.failure_text = too_late_text(timeout);
  }
  if (call.suspension != 0 && result != CallResult::kPending) link.host->suspensions().close(call.suspension);
  metrics.calls[call.phase][static_cast<std::size_t>(result)]->add();
  const bool went_well = answered && result != CallResult::kTimeout;
  if (mutated && went_well) metrics.mutations[call.phase]->add();
  if (const Quarantine::Trial trial = states_[position].trial; trial != 0 && went_well) {
    link.host->quarantine().returned_well(trial);
  }
  return action;
}

std::optional<PhaseResult> ChainRun::on_failure(std::size_t position, const extproc_call& call,
                                                const UndoPoint& before, bool can_skip) {
  const ChainLink& link = chain_.links()[position];
  undo(before);
  last_return_ = kNever;  // what a failure costs here is not the next plugin's time
  // Whatever the policy, a plugin that failed is not asked again on this stream, but for stream_end.
  states_[position].done = true;

  const bool can_deny = link.on_error == config::FailurePolicy::kDeny && exchange_.reply_possible;
  const bool impossible = (link.on_error == config::FailurePolicy::kDeny && !can_deny) ||
                          (link.on_error == config::FailurePolicy::kSkip && !can_skip);
  const auto policy = impossible ? config::FailurePolicy::kFail : link.on_error;
  link.host->metrics().failures[static_cast<std::size_t>(policy)]->add();
  if (!call.blameless) count_failure(position);
  const std::string text = failure_text(call);
  log_failure(*call.link.host, "failed in " + phase_name(call.phase) + " of stream " +
                                   std::to_string(exchange_.facts.id) + ", policy " +
                                   std::string(config::to_string(policy)) + ": " + text);

  switch (policy) {
    case config::FailurePolicy::kSkip:
      return std::nullopt;
    case config::FailurePolicy::kDeny:
      return deny(position, link.deny_status, "failed");
    case config::FailurePolicy::kFail:
      break;
  }
  return failure_of(call);
}

PhaseResult ChainRun::failure_of(const extproc_call& call) {
  PhaseResult result;
  result.kind = PhaseResult::Kind::kFail;
  result.failure = absl::Status(static_cast<absl::StatusCode>(call.failure_code), failure_text(call));
  return result;
}

/// A local reply of the host, on behalf of a plugin.
PhaseResult ChainRun::deny(std::size_t position, uint32_t status, std::string_view reason) {
  http::HeaderMap& headers = *exchange_.map(EXTPROC_LOCAL_REPLY);
  headers = {};
  headers.add_original(":status", exchange_.arena.copy(std::to_string(status)), exchange_.arena);
  LocalReply reply;
  reply.status = status;
  reply.details = "extproc_" + chain_.links()[position].host->name() + "_" + std::string(reason);
  return reply_with(position, std::move(reply));
}

PhaseResult ChainRun::reply_with(std::size_t position, LocalReply reply) {
  PhaseResult result;
  result.kind = PhaseResult::Kind::kReply;
  result.reply = std::move(reply);
  const std::size_t count = chain_.links().size();
  for (std::size_t step = 0; step < count; ++step) {
    const std::size_t i =
        chain_.response_order() == config::ResponseOrder::kReverse ? count - 1 - step : step;
    const ChainLink& link = chain_.links()[i];
    LinkState& state = states_[i];
    const bool wants =
        link.wants(EXTPROC_LOCAL_REPLY) && (state.unwanted & EXTPROC_PHASE_BIT(EXTPROC_LOCAL_REPLY)) == 0;
    if (i == position || !state.begun || state.done || !wants) continue;
    extproc_call call(exchange_, link, EXTPROC_LOCAL_REPLY);
    const UndoPoint before = set_undo_point(EXTPROC_LOCAL_REPLY);
    const extproc_action action = call_plugin(i, call, 0, before);
    if (action == EXTPROC_CONTINUE || action == EXTPROC_FINISH) continue;
    // The reply goes out all the same: a denial must not be lost to another plugin's fault.
    undo(before);
    state.done = true;
    link.host->metrics().failures[static_cast<std::size_t>(config::FailurePolicy::kSkip)]->add();
    count_failure(i);
    log_failure(*call.link.host, "failed in local_reply of stream " + std::to_string(exchange_.facts.id) +
                                     ", its headers are left out: " + failure_text(call));
  }
  return result;
}

ChainRun::UndoPoint ChainRun::set_undo_point(uint32_t phase) {
  if (http::HeaderMap* map = exchange_.editable_map(phase)) map->begin_undo();
  return {phase, exchange_.clear_route_cache, exchange_.replacement_body, exchange_.dynamic_metadata};
}

void ChainRun::undo(const UndoPoint& before) {
  if (http::HeaderMap* map = exchange_.editable_map(before.phase)) map->undo(exchange_.arena);
  exchange_.dynamic_metadata = before.metadata;
  exchange_.clear_route_cache = before.clear_route_cache;
  exchange_.replacement_body = before.replacement_body;
}

void ChainRun::end(uint32_t reason, uint32_t grpc_status, std::chrono::nanoseconds duration) {
  extproc_stream_end info{};
  info.struct_size = sizeof info;
  info.reason = reason;
  info.grpc_status = grpc_status;
  info.response_status = exchange_.local_reply_status;
  if (info.response_status == 0) {
    if (const auto status = exchange_.map(EXTPROC_RESPONSE_HEADERS)->first(":status")) {
      info.response_status = http::parse_status(*status);
    }
  }
  info.duration_ns = static_cast<uint64_t>(duration.count());
  cancel_waiting();
  release_held(reason == EXTPROC_END_COMPLETED || reason == EXTPROC_END_CANCELLED);
  for (std::size_t i = states_.size(); i-- > 0;) {
    const ChainLink& link = chain_.links()[i];
    end_trial(i);
    if (link.workers != nullptr) {
      end_on_worker(i, info);
      continue;
    }
    if (!states_[i].begun) continue;
    states_[i].begun = false;
    states_[i].done = true;
    info.plugin_duration_ns = static_cast<uint64_t>(states_[i].spent.count());
    extproc_call call(exchange_, link, EXTPROC_PHASE_COUNT);
    call_end(call, state_of(link), info);
  }
}

}  // namespace extprocd::engine
