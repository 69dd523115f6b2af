#include "core/server/thread_stack.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <span>
#include <string_view>

#include "absl/debugging/symbolize.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <semaphore.h>
#include <ucontext.h>

namespace extprocd::server {
namespace {

constexpr int kSignalAboveFirst = 6;
constexpr std::size_t kMostFrames = 64;
constexpr uint32_t kTickets = 1U << 28;

/// Where the signal handler writes. Static, because a signal may come whenever it likes: when nobody waits any more, and
/// when its thread is about to end.
struct Note {
  // Who asks draws a new ticket, which comes with the signal: a late one finds another, and does nothing.
  enum class State : uint32_t { kNone, kWanted, kBeingWritten, kWritten };
  static uint32_t word(uint32_t ticket, State state) { return ticket << 2 | static_cast<uint32_t>(state); }

  std::atomic<uint32_t> state{0};
  sem_t written{};
  std::array<void*, kMostFrames> frames{};
  int count = 0;
  uintptr_t interrupted = 0;
};
Note note;

/// Where the thread was when the signal came; zero where it is not known how to tell.
uintptr_t interrupted_at([[maybe_unused]] const ucontext_t& context) {
#if defined(__x86_64__)
  return static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return static_cast<uintptr_t>(context.uc_mcontext.pc);
#else
  return 0;
#endif
}

void on_signal(int, siginfo_t* info, void* context) {
  if (info->si_code != SI_QUEUE) return;
  const auto ticket = static_cast<uint32_t>(info->si_value.sival_int);
  uint32_t expected = Note::word(ticket, Note::State::kWanted);
  if (!note.state.compare_exchange_strong(expected, Note::word(ticket, Note::State::kBeingWritten),
                                          std::memory_order_acquire)) {
    return;
  }
  const int before = errno;
  note.count = backtrace(note.frames.data(), static_cast<int>(note.frames.size()));
  note.interrupted = interrupted_at(*static_cast<const ucontext_t*>(context));
  note.state.store(Note::word(ticket, Note::State::kWritten), std::memory_order_release);
  sem_post(&note.written);
  errno = before;
}

/// Waits until the handler is done, but no longer than that.
void await_note(std::chrono::nanoseconds time) {
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  const auto end = std::chrono::seconds(until.tv_sec) + std::chrono::nanoseconds(until.tv_nsec) + time;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(end);
  until.tv_sec = seconds.count();
  until.tv_nsec = (end - seconds).count();
  while (sem_clockwait(&note.written, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR) {
  }
}

/// What was noted, without the frames of the handler itself.
ThreadStack noted_stack() {
  const std::span frames = std::span(note.frames).first(static_cast<std::size_t>(note.count));
  const auto from = std::ranges::find(frames, note.interrupted,
                                      [](const void* frame) { return reinterpret_cast<uintptr_t>(frame); });
  return from == frames.end() ? ThreadStack(frames.begin(), frames.end()) : ThreadStack(from, frames.end());
}

/// "greeting.so" of a copy under a name of its own: "/tmp/…/greeting.so.4711.0.so", or in memory.
std::string module_name(const char* path) {
  std::string name = path;
  std::error_code error;
  if (name.empty()) name = "extprocd";  // what the dynamic linker calls the program
  if (name.starts_with("/proc/self/fd/")) name = std::filesystem::read_symlink(name, error).string();
  name = name.substr(name.rfind('/') + 1);
  constexpr std::string_view kInMemory = "memfd:";
  if (name.starts_with(kInMemory)) name = name.substr(kInMemory.size());
  constexpr std::string_view kSuffix = ".so";
  const std::size_t suffix = name.find(kSuffix);
  return suffix == std::string::npos ? name : name.substr(0, suffix + kSuffix.size());
}

std::string hex(uintptr_t number) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.begin(), digits.end(), number, 16);
  return "0x" + std::string(digits.begin(), end.ptr);
}

/// `at` is in the instruction that the frame is in.
std::string describe_frame(const void* at) {
  std::array<char, 256> name{};
  std::string text = absl::Symbolize(at, name.data(), name.size()) ? name.data() : "?";
  Dl_info info{};
  void* extra = nullptr;
  if (dladdr1(at, &info, &extra, RTLD_DL_LINKMAP) == 0) return text;
  const auto* const map = static_cast<const link_map*>(extra);
  return text + " (" + module_name(map->l_name) + "+" + hex(reinterpret_cast<uintptr_t>(at) - map->l_addr) +
         ")";
}

}  // namespace

int stack_signal() { return SIGRTMIN + kSignalAboveFirst; }

bool prepare_stacks() {
  static const bool ready = [] {
    struct sigaction before{};
    if (sigaction(stack_signal(), nullptr, &before) != 0 || before.sa_handler != SIG_DFL) return false;
    sem_init(&note.written, 0, 0);
    // The first one loads the unwinder, which the handler must not do.
    std::array<void*, 1> frame{};
    backtrace(frame.data(), 1);
    struct sigaction action{};
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(stack_signal(), &action, nullptr) == 0;
  }();
  return ready;
}

std::optional<ThreadStack> take_stack(const std::function<bool(int signal, int value)>& send,
                                      std::chrono::nanoseconds time) {
  static uint32_t ticket = 0;
  if ((note.state.load(std::memory_order_relaxed) & 3) == static_cast<uint32_t>(Note::State::kBeingWritten))
    return std::nullopt;
  ticket = (ticket + 1) % kTickets;
  while (sem_trywait(&note.written) == 0) {
  }
  note.state.store(Note::word(ticket, Note::State::kWanted), std::memory_order_release);
  const bool sent = send(stack_signal(), static_cast<int>(ticket));
  if (sent) await_note(time);
  uint32_t state = Note::word(ticket, Note::State::kWanted);
  // Whoever comes now comes too late.
  if (note.state.compare_exchange_strong(state, Note::word(ticket, Note::State::kNone),
                                         std::memory_order_acquire) ||
      state != Note::word(ticket, Note::State::kWritten)) {
    return std::nullopt;
  }
  return noted_stack();
}

std::string describe_stack(const ThreadStack& stack) {
  std::string text;
  for (std::size_t i = 0; i < stack.size(); ++i) {
    // All but the innermost are where a call returns to, which may be behind the end of its function.
    const auto* const at = static_cast<const char*>(stack[i]) - (i == 0 ? 0 : 1);
    text += (text.empty() ? "" : " < ") + describe_frame(at);
  }
  return text;
}

}  // namespace extprocd::server
