#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace extprocd::server {

/// The stack of a thread that runs on meanwhile, from the inside out: where it was, then where each call returns to.
using ThreadStack = std::vector<const void*>;

/// What tells a thread to note its stack; one of the real-time signals, which nothing else here uses.
int stack_signal();

/// Makes the process ready to be asked for stacks; once, before the first. False if the signal has a handler already,
/// which then stays: no stack can be had.
bool prepare_stacks();

/// Has a thread note its stack. `send` sends it a signal with a value, and tells whether it could. Nothing if the thread
/// does not get to it in time: it blocks signals, or has ended. One thread at a time.
///
/// The thread is interrupted for some microseconds. A system call that it waits in goes on, but for those that Linux never
/// goes on with (poll, nanosleep and the like, see signal(7)), which end with EINTR.
std::optional<ThreadStack> take_stack(const std::function<bool(int signal, int value)>& send,
                                      std::chrono::nanoseconds time = std::chrono::seconds(1));

/// The stack in one line: "function (module+0xoffset) < …". `addr2line -Cfie module 0xoffset` names the line. Not on a
/// thread that serves streams: it reads files.
std::string describe_stack(const ThreadStack& stack);

}  // namespace extprocd::server
