#include "core/engine/blocking_link.h"

#include <chrono>
#include <string>
#include <utility>

#include "core/engine/abi_text.h"
#include "core/engine/callback.h"

namespace extprocd::engine {

BlockingLink::BlockingLink(const ChainLink& link, const extproc_stream_facts& facts)
    : link_(link), facts_(facts) {
  facts_.peer = to_abi(arena_.copy(from_abi(facts.peer)));
  auto* const metadata = arena_.allocate_array<extproc_header>(facts.metadata_count);
  for (std::size_t i = 0; i < facts.metadata_count; ++i) {
    const extproc_header& entry = facts.metadata[i];
    metadata[i] = {to_abi(arena_.copy(from_abi(entry.name))), to_abi(arena_.copy(from_abi(entry.value)))};
  }
  facts_.metadata = metadata;
  const std::size_t size = link.descriptor->stream_state_size;
  if (size == 0) return;
  state_.reset(static_cast<std::byte*>(::operator new(size, std::align_val_t{Chain::kStateAlign})));
}

void BlockingLink::update(const extproc_stream_facts& facts) {
  // Written only if they changed: a plugin's own thread may be reading.
  const auto set = [](uint32_t& mode, uint32_t now) {
    if (mode != now) mode = now;
  };
  set(facts_.request_body_mode, facts.request_body_mode);
  set(facts_.response_body_mode, facts.response_body_mode);
}

bool BlockingLink::post(Task task, std::shared_ptr<const void> generation, bool always) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    if (std::exchange(busy_, true)) return true;  // whoever is busy keeps the generation
  }
  WorkerPool::Job job = [self = shared_from_this(), generation = std::move(generation)](bool) {
    self->do_tasks();
  };
  if (always) {
    link_.workers->submit_always(std::move(job));
    return true;
  }
  if (link_.workers->submit(std::move(job))) return true;
  const std::lock_guard lock(mutex_);
  tasks_.clear();
  busy_ = false;
  return false;
}

void BlockingLink::do_tasks() {
  while (true) {
    Task task;
    {
      const std::lock_guard lock(mutex_);
      if (tasks_.empty()) {
        busy_ = false;
        return;
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task(*this);
  }
}

bool BlockingLink::begin(extproc_call& call) {
  if (!begun_) begun_ = call_begin(call, state(), facts_);
  return begun_;
}

extproc_action BlockingLink::run(extproc_call& call, uint32_t flags, const uint64_t* token) {
  const auto start = Clock::now();
  const extproc_action action = call_phase(call, state(), flags, token);
  spent_ += Clock::now() - start;
  return action;
}

void BlockingLink::tell_cancelled(Exchange& exchange, uint32_t phase, uint32_t reason) {
  extproc_call call(exchange, link_, phase);
  call.facts = &facts_;
  const auto start = Clock::now();
  call_cancelled(call, state(), reason);
  spent_ += Clock::now() - start;
}

void BlockingLink::end(Exchange& exchange, extproc_stream_end info) {
  if (!std::exchange(begun_, false)) return;
  info.plugin_duration_ns = static_cast<uint64_t>(spent_.count());
  extproc_call call(exchange, link_, EXTPROC_PHASE_COUNT);
  call.facts = &facts_;
  call_end(call, state(), info);
}

BlockingCall::BlockingCall(const extproc_call& of_stream, const BlockingLink& link, uint32_t flags,
                           const uint64_t* token, Clock::time_point now)
    : exchange(of_stream.exchange, link.facts()),
      call(exchange, link.link(), of_stream.phase),
      flags_(flags),
      token_(token != nullptr ? std::optional(*token) : std::nullopt),
      stream_time_(now) {
  call.facts = &link.facts();
  call.site = this;
  call.unwanted = of_stream.unwanted;
  call.reply = of_stream.reply;
  if (of_stream.given == nullptr) return;
  const BodyEdit& given = *of_stream.given;
  edit.emplace(given.in.share());
  edit->at = given.at;
  edit->out = given.out.share();
  edit->written = given.written;
  edit->edited = given.edited;
  exchange.body = edit->in.slices();
  if (of_stream.body != nullptr) call.body = &*edit;
}

void BlockingCall::reports_to(Handle handle, std::shared_ptr<Executor> executor,
                              Suspensions::Waiter& waiter) {
  handle_ = handle;
  executor_ = std::move(executor);
  waiter_ = &waiter;
}

void BlockingCall::run(BlockingLink& link) {
  if (const State state = state_.load(std::memory_order_acquire); state != State::kOpen) {
    if (token_) tell_cancelled(link, state);  // the suspension that it would have ended came to nothing
    return;
  }
  has_begun = link.begin(call);
  if (has_begun) {
    const ChainLink& place = link.link();
    const Duration before = link.spent();
    call.may_edit = true;
    action = link.run(call, flags_, token_ ? &*token_ : nullptr);
    call.may_edit = false;
    spent = link.spent() - before;
    place.host->metrics().durations[call.phase]->observe(std::chrono::duration<double>(spent).count());
  }
  returned = now();
  State state = State::kOpen;
  if (state_.compare_exchange_strong(state, State::kReturned, std::memory_order_acq_rel)) {
    link.link().host->suspensions().resume(handle_, 0);
  } else {
    clean_up(link, state);
  }
}

/// Of a callback that nobody waited for any more.
void BlockingCall::clean_up(BlockingLink& link, State why) {
  if (call.suspension == 0) return;
  link.link().host->suspensions().close(call.suspension);
  if (action == EXTPROC_SUSPEND) tell_cancelled(link, why);
}

void BlockingCall::tell_cancelled(BlockingLink& link, State why) {
  exchange.body = {};
  link.tell_cancelled(exchange, call.phase,
                      why == State::kTimedOut ? EXTPROC_CANCEL_TIMEOUT : EXTPROC_CANCEL_STREAM_OVER);
}

bool BlockingCall::give_up(uint32_t reason) {
  const State why = reason == EXTPROC_CANCEL_TIMEOUT ? State::kTimedOut : State::kStreamOver;
  State state = State::kOpen;
  return state_.compare_exchange_strong(state, why, std::memory_order_acq_rel);
}

BlockingCall::Handle BlockingCall::open_suspension(const ChainLink& link) {
  return link.host->suspensions().open(executor_, *waiter_);
}

Clock::time_point BlockingCall::now() const { return stream_time_ + (Clock::now() - made_); }

}  // namespace extprocd::engine
