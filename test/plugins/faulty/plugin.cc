// A plugin that misbehaves against the C contract alone, which is what the C++ layer keeps its authors from. What it does
// comes with a request, so that others pass it undisturbed: `x-fault: NAME PHASE MILLISECONDS`, or else from its
// configuration. FAULTY_ACCESS is its access to both bodies, by which the modules of this source differ.
//
// It does nothing that no host can survive: it does not use an extproc_call after its callback, nor memory that is not its.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "faults.h"
#include "host.h"
#include <extproc/abi.h>

namespace faulty {
namespace {

constexpr uint32_t kInvalidArgument = 3;

/// Takes the first word off.
std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

/// Reads `NAME PHASE MILLISECONDS`; false if it is anything else.
bool read(std::string_view text, State& state) {
  state.fault = find_fault(take_word(text));
  state.phase = phase_of(take_word(text));
  uint32_t milliseconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
  state.time = std::chrono::milliseconds(milliseconds);
  return state.fault != nullptr && state.phase < EXTPROC_LOCAL_REPLY && error == std::errc() &&
         end == text.data() + text.size();
}

extproc_status create(const extproc_host* host, void** instance) {
  try {
    *instance = new Instance(*host);
    return EXTPROC_OK;
  } catch (const std::exception& error) {
    host->create_error(host, abi(error.what()));
    return EXTPROC_INVALID;
  }
}

void destroy(void* instance) { delete static_cast<Instance*>(instance); }

extproc_action stream_begin(void* pointer, void* memory, extproc_call* call, const extproc_stream_facts*) {
  Instance& instance = *static_cast<Instance*>(pointer);
  State& state = *new (memory) State{instance.fault, instance.phase, instance.time};
  const std::string_view asked = instance.host.request_header(call, "x-fault");
  if (!asked.empty() && !read(asked, state)) {
    instance.host.table->fail(call, kInvalidArgument, abi("x-fault is no fault: NAME PHASE MILLISECONDS"));
    return EXTPROC_FAIL;
  }
  instance.host.count(instance.begun);
  return EXTPROC_CONTINUE;
}

extproc_action on_phase(void* pointer, void* memory, extproc_call* call, uint32_t phase, uint32_t flags) {
  Instance& instance = *static_cast<Instance*>(pointer);
  Turn turn{instance, *static_cast<State*>(memory), call, phase, flags};
  if (turn.state.waiting) turn.wrong("on_phase while it waits");
  if (turn.state.fault != nullptr && turn.state.phase == phase && !turn.state.began) {
    turn.state.began = true;
    return turn.state.fault->begin(turn);
  }
  if (!turn.in_body() && !instance.mark.empty()) {
    instance.host.table->header_set(call, phase, abi(instance.mark), instance.host.table->plugin_name);
  }
  return EXTPROC_CONTINUE;
}

extproc_action on_resumed(void* pointer, void* memory, extproc_call* call, uint32_t phase, uint32_t flags,
                          uint64_t token) {
  Instance& instance = *static_cast<Instance*>(pointer);
  Turn turn{instance, *static_cast<State*>(memory), call, phase, flags};
  if (!turn.state.waiting) turn.wrong("on_resumed without waiting");
  if (turn.state.phase != phase) turn.wrong("on_resumed in another phase");
  if (token != kToken) turn.wrong("another token");
  turn.state.waiting = false;
  instance.host.count(instance.resumed);
  return turn.state.fault->resumed(turn);
}

void on_cancelled(void* pointer, void* memory, extproc_call* call, uint32_t phase, uint32_t reason) {
  Instance& instance = *static_cast<Instance*>(pointer);
  Turn turn{instance, *static_cast<State*>(memory), call, phase, 0};
  if (!turn.state.waiting) turn.wrong("on_cancelled without waiting");
  turn.state.waiting = false;
  instance.host.count(reason == EXTPROC_CANCEL_TIMEOUT ? instance.cancelled_timeout
                                                       : instance.cancelled_over);
  if (turn.state.fault->cancelled != nullptr) turn.state.fault->cancelled(turn);
}

void stream_end(void* pointer, void* memory, extproc_call* call, const extproc_stream_end*) {
  Instance& instance = *static_cast<Instance*>(pointer);
  Turn turn{instance, *static_cast<State*>(memory), call, EXTPROC_PHASE_COUNT, 0};
  if (turn.state.waiting) turn.wrong("stream_end without on_cancelled");
  instance.host.count(instance.ended);
  if (turn.state.fault != nullptr && turn.state.began && turn.state.fault->ended != nullptr) {
    turn.state.fault->ended(turn);
  }
}

constexpr extproc_plugin kDescriptor = [] {
  extproc_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = EXTPROC_ABI_MAJOR;
  plugin.abi_minor = EXTPROC_ABI_MINOR;
  plugin.id = "test.faulty";
  plugin.version = "1.0.0";
  plugin.phases = EXTPROC_PHASE_BIT(EXTPROC_LOCAL_REPLY) - 1;
  plugin.request_body_access = FAULTY_ACCESS;
  plugin.response_body_access = FAULTY_ACCESS;
  plugin.stream_state_size = sizeof(State);
  plugin.stream_state_align = alignof(State);
  plugin.create = &create;
  plugin.destroy = &destroy;
  plugin.stream_begin = &stream_begin;
  plugin.on_phase = &on_phase;
  plugin.stream_end = &stream_end;
  plugin.may_block = FAULTY_MAY_BLOCK;
  plugin.on_resumed = &on_resumed;
  plugin.on_cancelled = &on_cancelled;
  return plugin;
}();

}  // namespace
}  // namespace faulty

extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  return &faulty::kDescriptor;
}
