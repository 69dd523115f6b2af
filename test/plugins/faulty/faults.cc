#include "faults.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bad_calls.h"

namespace faulty {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kResourceExhausted = 8;
constexpr uint32_t kInternal = 13;
constexpr std::size_t kAll = static_cast<std::size_t>(-1);

/// Changes that must not show once the plugin has failed.
void spoil(const Turn& turn) {
  if (!turn.in_body()) {
    turn.host().table->header_set(turn.call, turn.phase, abi("x-spoilt"), abi("1"));
  } else if (turn.host().body->drop(turn.call, kAll) == EXTPROC_OK) {  // else it may only look
    turn.host().body->write(turn.call, abi("spoilt"));
  }
}

extproc_action fail(const Turn& turn, uint32_t code, std::string_view text) {
  turn.host().table->fail(turn.call, code, abi(text));
  return EXTPROC_FAIL;
}

extproc_resume_handle open_suspension(const Turn& turn) {
  extproc_resume_handle handle = 0;
  if (turn.host().async == nullptr || turn.host().async->suspend(turn.call, &handle) != EXTPROC_OK) {
    throw std::runtime_error("suspend was refused: " +
                             std::string(view(turn.host().table->last_error(turn.call))));
  }
  turn.state.handle = handle;
  return handle;
}

extproc_action suspend(const Turn& turn) {
  open_suspension(turn);
  turn.state.waiting = true;
  turn.host().count(turn.instance.suspended);
  return EXTPROC_SUSPEND;
}

bool resume(const Host& host, extproc_resume_handle handle) {
  return host.async->resume(host.table, handle, kToken) == EXTPROC_OK;
}

/// A resume that must do nothing, from another thread.
void resume_in_vain(const Turn& turn) {
  const extproc_resume_handle handle = turn.state.handle;
  Instance& instance = turn.instance;
  instance.later.in(1ms, [&instance, handle] {
    if (instance.host.async->is_waiting(instance.host.table, handle) != 0) instance.count_wrong("is_waiting");
    if (resume(instance.host, handle)) instance.count_wrong("a late resume was taken");
  });
}

extproc_action answer(Turn& turn) {
  if (!turn.in_body()) turn.host().table->header_set(turn.call, turn.phase, abi("x-resumed"), abi("1"));
  return EXTPROC_CONTINUE;
}

/// For faults that never come so far.
extproc_action never_resumed(Turn& turn) {
  turn.wrong("on_resumed");
  return EXTPROC_CONTINUE;
}

// ---- They keep the thread.

extproc_action sleep(Turn& turn) {
  spoil(turn);
  std::this_thread::sleep_for(turn.state.time);
  return EXTPROC_CONTINUE;
}

extproc_action spin(Turn& turn) {
  spoil(turn);
  const auto end = Later::Clock::now() + turn.state.time;
  while (Later::Clock::now() < end) continue;
  return EXTPROC_CONTINUE;
}

// ---- They fail, or return what means nothing.

extproc_action throw_exception(Turn& turn) {
  spoil(turn);
  throw std::runtime_error("thrown by a fault");
}

extproc_action throw_number(Turn& turn) {
  spoil(turn);
  throw 42;  // NOLINT: that is the fault
}

extproc_action unknown_action(Turn& turn) {
  spoil(turn);
  return 77;
}

extproc_action reply_without_reply(Turn& turn) {
  spoil(turn);
  return EXTPROC_REPLY;
}

extproc_action bad_status(Turn& turn) {
  spoil(turn);
  extproc_reply reply{};
  reply.struct_size = sizeof reply;
  reply.status = 99;
  reply.grpc_status = -1;
  if (turn.host().table->reply(turn.call, &reply) == EXTPROC_OK) turn.wrong("a status of 99 was taken");
  return EXTPROC_REPLY;
}

extproc_action suspend_without_handle(Turn& turn) {
  spoil(turn);
  return EXTPROC_SUSPEND;
}

/// Legal in a headers phase, and with access stream before the body's end.
extproc_action hold(Turn&) { return EXTPROC_HOLD; }

/// Takes of everything what it can get.
extproc_action allocate(Turn& turn) {
  spoil(turn);
  const Host& host = turn.host();
  const std::string much(10'000, 'x');
  const auto until_refused = [&](std::string_view what, const auto& take) {
    constexpr int kSurely = 100'000;
    for (int i = 0; i < kSurely; ++i) {
      if (take(i) != EXTPROC_OK) return;
    }
    turn.wrong(what);
  };
  const auto named = [](int number) { return "x-spoilt-" + std::to_string(number); };
  until_refused("headers without end", [&](int i) {
    return host.table->header_set(turn.call, turn.phase, abi(named(i)), abi(much));
  });
  until_refused("removals without end", [&](int i) {
    return host.table->header_remove(turn.call, turn.phase, abi(named(1'000'000 + i)));
  });
  until_refused("a body without end", [&](int) { return host.body->write(turn.call, abi(much)); });
  until_refused("metadata without end", [&](int i) {
    return host.metadata->set_string(turn.call, abi("faulty"), abi(named(i)), abi(much));
  });
  until_refused("a store without end",
                [&](int i) { return host.store->set(turn.call, abi(named(i)), abi(much)); });
  return fail(turn, kResourceExhausted, "took all that it could get");
}

// ---- They wait, and something is wrong with that.

extproc_action wait_in_vain(Turn& turn) {
  spoil(turn);
  return suspend(turn);
}

/// Cancelled, it goes on as if nothing were.
void ignore_cancelling(const Turn& turn) {
  const Host& host = turn.host();
  extproc_resume_handle another = 0;
  const auto must_be_refused = [&](std::string_view what, extproc_status status) {
    if (status == EXTPROC_OK) turn.wrong(what);
  };
  must_be_refused("suspend in on_cancelled", host.async->suspend(turn.call, &another));
  must_be_refused("a header in on_cancelled",
                  host.table->header_set(turn.call, turn.phase, abi("x-spoilt"), abi("2")));
  must_be_refused("a body in on_cancelled", host.body->write(turn.call, abi("spoilt")));
  must_be_refused("metadata in on_cancelled",
                  host.metadata->set_string(turn.call, abi("faulty"), abi("a"), abi("b")));
  if (resume(host, turn.state.handle)) turn.wrong("a resume in on_cancelled was taken");
  resume_in_vain(turn);
}

extproc_action suspend_for_a_moment(Turn& turn) {
  const extproc_action action = suspend(turn);
  turn.host().async->resume_after(turn.call, turn.state.handle, 1'000'000, kToken);
  return action;
}

extproc_action suspend_for_ever(Turn& turn) {
  spoil(turn);
  return suspend_for_a_moment(turn);
}

extproc_action suspend_and_throw(Turn& turn) {
  spoil(turn);
  open_suspension(turn);
  throw std::runtime_error("thrown by a fault");
}

extproc_action suspend_and_go_on(Turn& turn) {
  open_suspension(turn);
  return answer(turn);
}

extproc_action throw_when_resumed(Turn& turn) {
  spoil(turn);
  throw std::runtime_error("thrown by a fault");
}

extproc_action sleep_when_resumed(Turn& turn) {
  spoil(turn);
  std::this_thread::sleep_for(turn.state.time);
  return EXTPROC_CONTINUE;
}

// ---- They are in order, however odd.

extproc_action resume_later(Turn& turn) {
  const extproc_action action = suspend(turn);
  turn.instance.later.in(turn.state.time, [&host = turn.host(), handle = turn.state.handle] {
    resume(host, handle);  // the stream may have ended
  });
  return action;
}

/// All of an instance's streams wait for the one thing that does so much a second, as for a database.
extproc_action backend(Turn& turn) {
  const extproc_action action = suspend(turn);
  turn.instance.backend.ask(turn.state.handle);
  return action;
}

extproc_action resume_by_timer(Turn& turn) {
  const extproc_action action = suspend(turn);
  const auto delay = std::chrono::nanoseconds(turn.state.time).count();
  turn.host().async->resume_after(turn.call, turn.state.handle, static_cast<uint64_t>(delay), kToken);
  return action;
}

extproc_action resume_at_once(Turn& turn) {
  const extproc_action action = suspend(turn);
  if (!resume(turn.host(), turn.state.handle)) turn.wrong("a resume in the callback was not taken");
  return action;
}

extproc_action resume_twice(Turn& turn) {
  const extproc_action action = suspend(turn);
  Instance& instance = turn.instance;
  instance.later.in(turn.state.time, [&instance, handle = turn.state.handle] {
    const bool first = resume(instance.host, handle);
    if (resume(instance.host, handle)) instance.count_wrong("a second resume was taken");
    if (!first) instance.count_wrong("the first resume was not taken");
  });
  return action;
}

extproc_action resume_from_ten_threads(Turn& turn) {
  const extproc_action action = suspend(turn);
  Instance& instance = turn.instance;
  instance.later.in(turn.state.time, [&instance, handle = turn.state.handle] {
    std::atomic<int> ready{0};
    std::atomic<int> taken{0};
    std::array<std::thread, 10> threads;
    for (std::thread& thread : threads) {
      thread = std::thread([&] {
        ++ready;
        while (ready < static_cast<int>(threads.size())) std::this_thread::yield();
        if (resume(instance.host, handle)) ++taken;
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (taken != 1) instance.count_wrong("of ten resumes not one was taken, but " + std::to_string(taken));
  });
  return action;
}

extproc_action suspend_twice(Turn& turn) {
  const extproc_action action = suspend_for_a_moment(turn);
  extproc_resume_handle another = 0;
  if (turn.host().async->suspend(turn.call, &another) != EXTPROC_LIMIT) turn.wrong("a second suspend");
  return action;
}

extproc_action unknown_handles(Turn& turn) {
  for (const extproc_resume_handle handle : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 40}) {
    if (turn.host().async->is_waiting(turn.host().table, handle) != 0) turn.wrong("an unknown handle waits");
    if (resume(turn.host(), handle)) turn.wrong("an unknown handle was resumed");
  }
  return answer(turn);
}

extproc_action bad_calls(Turn& turn) {
  for (const std::string_view what : make_bad_calls(turn)) turn.wrong(what);
  return answer(turn);
}

struct Work {
  const Host* host;
  extproc_resume_handle handle;
};

extproc_action work(Turn& turn) {
  if (turn.host().work == nullptr) return fail(turn, kInternal, "the host has no extproc.work/1");
  const extproc_action action = suspend(turn);
  auto* data = new Work{&turn.host(), turn.state.handle};
  const auto run = [](void* pointer, uint32_t dropped) {
    const auto* own = static_cast<Work*>(pointer);
    if (dropped == 0) resume(*own->host, own->handle);
    delete own;
  };
  const auto delay = std::chrono::nanoseconds(turn.state.time).count();
  if (turn.host().work->run(turn.host().table, static_cast<uint64_t>(delay), run, data) == EXTPROC_OK) {
    return action;
  }
  delete data;
  turn.state.waiting = false;
  return fail(turn, kResourceExhausted, "too much work waits");
}

constexpr std::array kFaults = {
    Fault{"sleep", sleep, never_resumed},
    Fault{"spin", spin, never_resumed},
    Fault{"throw", throw_exception, never_resumed},
    Fault{"throw_number", throw_number, never_resumed},
    Fault{"unknown_action", unknown_action, never_resumed},
    Fault{"reply_without_reply", reply_without_reply, never_resumed},
    Fault{"bad_status", bad_status, never_resumed},
    Fault{"suspend_without_handle", suspend_without_handle, never_resumed},
    Fault{"hold", hold, never_resumed},
    Fault{"allocate", allocate, never_resumed},
    Fault{"resume_never", wait_in_vain, never_resumed},
    Fault{"resume_late", wait_in_vain, never_resumed, resume_in_vain},
    Fault{"resume_after_end", wait_in_vain, never_resumed, nullptr, resume_in_vain},
    Fault{"cancelled_ignored", wait_in_vain, never_resumed, ignore_cancelling},
    Fault{"suspend_for_ever", suspend_for_ever, suspend_for_a_moment},
    Fault{"suspend_and_throw", suspend_and_throw, never_resumed, nullptr, resume_in_vain},
    Fault{"suspend_and_go_on", suspend_and_go_on, never_resumed, nullptr, resume_in_vain},
    Fault{"throw_when_resumed", resume_at_once, throw_when_resumed},
    Fault{"sleep_when_resumed", resume_at_once, sleep_when_resumed},
    Fault{"resume_later", resume_later, answer},
    Fault{"backend", backend, answer},
    Fault{"resume_by_timer", resume_by_timer, answer},
    Fault{"resume_at_once", resume_at_once, answer},
    Fault{"resume_twice", resume_twice, answer},
    Fault{"resume_from_ten_threads", resume_from_ten_threads, answer},
    Fault{"suspend_twice", suspend_twice, answer},
    Fault{"unknown_handles", unknown_handles, never_resumed},
    Fault{"bad_calls", bad_calls, never_resumed},
    Fault{"work", work, answer},
};

}  // namespace

const Fault* find_fault(std::string_view name) {
  const auto* const found =
      std::find_if(kFaults.begin(), kFaults.end(), [&](const Fault& fault) { return fault.name == name; });
  return found == kFaults.end() ? nullptr : found;
}

}  // namespace faulty
