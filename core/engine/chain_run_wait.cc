// Waiting for a plugin: where a phase stops in the middle of the chain, and how it goes on.

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "core/engine/callback.h"
#include "core/engine/chain_run.h"

namespace extprocd::engine {

using telemetry::WaitResult;

/// Keeps what a callback that suspended had come to. `edit` of a body phase, else null.
PhaseResult ChainRun::wait(std::size_t position, extproc_call& call, UndoPoint& before, BodyEdit* edit) {
  const ChainLink& link = chain_.links()[position];
  const Duration timeout = link.timeout(phase_);
  waiting_ = std::make_unique<Waiting>();
  waiting_->position = position;
  waiting_->handle = call.suspension;
  waiting_->before = std::move(before);
  waiting_->unwanted = call.unwanted;
  waiting_->reply = std::move(call.reply);
  waiting_->began = call.began;
  waiting_->since = last_return_;
  waiting_->timer = call.timer;
  waiting_->blocking = std::move(call.blocking);
  if (timeout != Duration::zero()) waiting_->until = call.began + timeout;
  if (edit != nullptr) {
    BodyEdit& kept = waiting_->edit.emplace(std::move(*edit));
    // The message is gone by the time that it goes on.
    kept.in.own();
    kept.out.own();
    held_bytes_.change(link.host->metrics(), 0, kept.in.size() + kept.out.size());
  }
  link.host->metrics().waiting->begin();
  PhaseResult result;
  result.kind = PhaseResult::Kind::kWait;
  return result;
}

/// Ends the suspension: nothing that comes under its handle counts any more.
std::unique_ptr<ChainRun::Waiting> ChainRun::end_wait(WaitResult result) {
  const PluginHost& host = *chain_.links()[waiting_->position].host;
  const auto& metrics = host.metrics();
  host.suspensions().close(waiting_->handle);
  if (waiting_->edit) {
    held_bytes_.change(metrics, waiting_->edit->in.size() + waiting_->edit->out.size(), 0);
  }
  metrics.waiting->end();
  // How long what runs on workers takes is told by other metrics.
  if (waiting_->blocking != nullptr) return std::move(waiting_);
  metrics.waits[static_cast<std::size_t>(result)]->add();
  metrics.wait_durations->observe(std::chrono::duration<double>(now() - waiting_->since).count());
  return std::move(waiting_);
}

PhaseResult ChainRun::resume(uint64_t token, http::BodyBuffer& body) {
  const auto waiting = end_wait(WaitResult::kResumed);
  extproc_call call(exchange_, chain_.links()[waiting->position], phase_);
  take_up(*waiting, call);
  if (waiting->blocking != nullptr) {
    const extproc_action action = take_over(*waiting, call);
    return go_on(*waiting, call, action, body);
  }
  const uint32_t flags = waiting->edit ? body_flags(*waiting->edit) : flags_;
  const extproc_action action = call_plugin(waiting->position, call, flags, waiting->before, &token);
  return go_on(*waiting, call, action, body);
}

PhaseResult ChainRun::give_up(std::string why, http::BodyBuffer& body) {
  const auto waiting = end_wait(WaitResult::kTimeout);
  tell_cancelled(*waiting, EXTPROC_CANCEL_TIMEOUT);
  const ChainLink& link = chain_.links()[waiting->position];
  extproc_call call(exchange_, link, phase_);
  take_up(*waiting, call);
  call.failure_code = kDeadlineExceeded;
  call.failure_text = std::move(why);
  link.host->metrics().calls[phase_][static_cast<std::size_t>(telemetry::CallResult::kTimeout)]->add();
  return go_on(*waiting, call, EXTPROC_FAIL, body);
}

std::optional<uint64_t> ChainRun::take_resume_timer() {
  const uint64_t token = waiting_->timer->token;
  waiting_->timer.reset();
  const PluginHost& host = *chain_.links()[waiting_->position].host;
  if (!host.suspensions().claim(waiting_->handle)) return std::nullopt;
  return token;
}

std::string ChainRun::too_late() const {
  return too_late_text(chain_.links()[waiting_->position].timeout(phase_));
}

/// Gives a call what its earlier ones for this phase had come to.
void ChainRun::take_up(Waiting& waiting, extproc_call& call) {
  last_return_ = kNever;
  call.unwanted = waiting.unwanted;
  call.reply = std::move(waiting.reply);
  call.began = waiting.began;
  if (waiting.edit) give_body(call, *waiting.edit);
}

/// What comes of the callback that ends a suspension, and of the rest of the chain.
PhaseResult ChainRun::go_on(Waiting& waiting, extproc_call& call, extproc_action action,
                            http::BodyBuffer& body) {
  auto result = waiting.edit
                    ? settle_stage(waiting.position, call, action, waiting.before, *waiting.edit, body)
                    : settle(waiting.position, call, action, waiting.before);
  if (result) return *std::move(result);
  return waiting.edit ? run_body_from_cursor(body) : run_from_cursor();
}

void ChainRun::tell_cancelled(const Waiting& waiting, uint32_t reason) {
  const ChainLink& link = chain_.links()[waiting.position];
  if (waiting.blocking != nullptr) return give_up_blocking(waiting, reason);
  if (link.workers != nullptr) return tell_cancelled_on_worker(waiting.position, reason);
  extproc_call call(exchange_, link, phase_);
  call_cancelled(call, state_of(link), reason);
}

void ChainRun::cancel_waiting() {
  if (waiting_ == nullptr) return;
  const auto waiting = end_wait(WaitResult::kCancelled);
  tell_cancelled(*waiting, EXTPROC_CANCEL_STREAM_OVER);
}

}  // namespace extprocd::engine
