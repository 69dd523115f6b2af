// Plugins that may block: their callbacks run on workers, and the stream waits for them as for those that suspend.

#include <memory>
#include <string>
#include <utility>

#include "core/engine/blocking_link.h"
#include "core/engine/callback.h"
#include "core/engine/chain_run.h"
#include "core/engine/generation.h"

namespace extprocd::engine {

/// EXTPROC_SUSPEND, with call.suspension for its return; or it has failed.
extproc_action ChainRun::call_on_worker(std::size_t position, extproc_call& call, uint32_t flags,
                                        const uint64_t* token) {
  const ChainLink& link = chain_.links()[position];
  last_return_ = now();
  if (token == nullptr) call.began = last_return_;
  const auto fail = [&](uint32_t code, std::string text) {
    call.suspension = 0;
    call.failure_code = code;
    call.failure_text = std::move(text);
    call.blameless = true;
    const auto error = static_cast<std::size_t>(telemetry::CallResult::kError);
    link.host->metrics().calls[call.phase][error]->add();
    return EXTPROC_FAIL;
  };
  auto executor = sink_.executor();
  if (executor == nullptr) return fail(kInternal, "may block, but the stream has no thread to come back to");

  if (blocking_ == nullptr) {
    blocking_ = std::make_unique<std::shared_ptr<BlockingLink>[]>(chain_.links().size());
  }
  auto& own = blocking_[position];
  const bool is_first = own == nullptr;
  if (is_first) own = std::make_shared<BlockingLink>(link, exchange_.facts);
  own->update(exchange_.facts);
  if (call.given != nullptr) {
    call.given->in.own();
    call.given->out.own();
  }
  auto blocking = std::make_shared<BlockingCall>(call, *own, flags, token, last_return_);
  Suspensions& suspensions = link.host->suspensions();
  call.suspension = suspensions.open(executor, waiter_);
  blocking->reports_to(call.suspension, std::move(executor), waiter_);
  if (!own->post([blocking](BlockingLink& there) { blocking->run(there); }, generation_,
                 /*always=*/token != nullptr)) {  // who was resumed is told, as many as there are
    suspensions.close(call.suspension);
    if (is_first) own.reset();  // nothing was posted, and so it needs no end
    return fail(kResourceExhausted,
                "finds " + std::to_string(link.workers->settings().max_queue) +
                    " callbacks waiting for a worker, as many as server.workers.max_queue allows");
  }
  call.blocking = std::move(blocking);
  return EXTPROC_SUSPEND;
}

/// Lets what a callback did on a worker count as if it had just returned here; its action.
extproc_action ChainRun::take_over(Waiting& waiting, extproc_call& call) {
  BlockingCall& done = *waiting.blocking;
  last_return_ = now();
  exchange_.take_over(done.exchange, phase_);
  if (waiting.edit) {
    waiting.edit->at = done.edit->at;
    waiting.edit->out = std::move(done.edit->out);
    waiting.edit->written = done.edit->written;
    waiting.edit->edited = done.edit->edited;
  }
  call.unwanted = done.call.unwanted;
  call.reply = std::move(done.call.reply);
  call.suspension = done.call.suspension;
  call.timer = done.call.timer;
  call.failure_code = done.call.failure_code;
  call.failure_text = std::move(done.call.failure_text);
  const auto early = std::exchange(waiting.early_resumes, {});
  if (!done.has_begun) return EXTPROC_FAIL;
  // It is not to blame for what kept the stream's thread busy since.
  const extproc_action action = judge(waiting.position, call, done.action, done.returned, waiting.before);
  if (action == EXTPROC_SUSPEND && call.suspension != 0) {
    for (const auto& [handle, token] : early) {
      if (handle != call.suspension) continue;
      // Once more, now that the stream will wait for it.
      sink_.executor()->post([&waiter = waiter_, &of = call.link.host->suspensions(), handle, token] {
        waiter.resumed(of, handle, token);
      });
    }
  }
  return action;
}

bool ChainRun::has_returned() const {
  return waiting_->blocking != nullptr && waiting_->blocking->has_returned();
}

void ChainRun::note_resume(const Suspensions& of, Suspensions::Handle handle, uint64_t token) {
  if (waiting_ == nullptr || waiting_->blocking == nullptr) return;
  if (&chain_.links()[waiting_->position].host->suspensions() != &of) return;
  waiting_->early_resumes.emplace_back(handle, token);
}

/// A callback is not waited for any more, wherever it is.
void ChainRun::give_up_blocking(const Waiting& waiting, uint32_t reason) {
  BlockingCall& blocking = *waiting.blocking;
  if (blocking.give_up(reason) || blocking.call.suspension == 0) return;
  const ChainLink& link = chain_.links()[waiting.position];
  link.host->suspensions().close(blocking.call.suspension);
  if (blocking.action == EXTPROC_SUSPEND) tell_cancelled_on_worker(waiting.position, reason);
}

void ChainRun::tell_cancelled_on_worker(std::size_t position, uint32_t reason) {
  BlockingLink& own = *blocking(position);
  if (!has_on_cancelled(*own.link().descriptor)) return;
  (void)own.post([copy = std::make_unique<Exchange>(exchange_, own.facts()), phase = phase_,
                  reason](BlockingLink& there) { there.tell_cancelled(*copy, phase, reason); },
                 generation_, /*always=*/true);
}

void ChainRun::end_on_worker(std::size_t position, const extproc_stream_end& info) {
  states_[position].done = true;
  BlockingLink* const own = blocking(position);
  if (own == nullptr || own->link().descriptor->stream_end == nullptr) return;
  (void)own->post([copy = std::make_unique<Exchange>(exchange_, own->facts()),
                   info](BlockingLink& there) { there.end(*copy, info); },
                  generation_, /*always=*/true);
}

}  // namespace extprocd::engine
