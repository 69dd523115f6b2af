#include "core/server/thread_stack.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <semaphore>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

namespace extprocd::server {

/// The function that a stack must name; it is no function of this file alone, and reads until somebody writes.
[[gnu::noinline]] ssize_t reads_here(int file, char& byte) {
  const ssize_t count = read(file, &byte, 1);
  return count + (count < 0 ? -errno : 0);  // no tail call
}

namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr std::chrono::milliseconds kShort{10};  // where nothing is to come

bool send_to(pthread_t thread, int signal, int value) {
  sigval with{};
  with.sival_int = value;
  return pthread_sigqueue(thread, signal, with) == 0;
}

/// A thread inside reads_here() until it is told to go on.
class ReadingThread {
 public:
  explicit ReadingThread(bool blocks_signals = false) {
    EXPECT_EQ(pipe(pipe_.data()), 0);
    thread_ = std::thread([this, blocks_signals] {
      if (blocks_signals) {
        sigset_t all{};
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
      }
      begun_.release();
      char byte = 0;
      result_ = reads_here(pipe_[0], byte);
      if (!blocks_signals) return;
      sigset_t all{};
      sigfillset(&all);
      pthread_sigmask(SIG_UNBLOCK, &all, nullptr);  // what waited comes now
    });
    begun_.acquire();
  }
  ~ReadingThread() {
    if (thread_.joinable()) go_on();
    close(pipe_[0]);
    close(pipe_[1]);
  }
  ReadingThread(const ReadingThread&) = delete;
  ReadingThread& operator=(const ReadingThread&) = delete;

  std::optional<ThreadStack> stack(std::chrono::milliseconds time = std::chrono::minutes(1)) {
    return take_stack(
        [this](int signal, int value) { return send_to(thread_.native_handle(), signal, value); }, time);
  }
  /// The stack once the thread is in the function: it may be on its way there.
  std::string stack_inside() {
    for (;;) {
      const auto taken = stack();
      if (!taken) return "none";
      std::string text = describe_stack(*taken);
      if (text.find("reads_here") != std::string::npos) return text;
    }
  }
  /// What the read gave: 1, or less an errno.
  ssize_t go_on() {
    EXPECT_EQ(write(pipe_[1], "x", 1), 1);
    thread_.join();
    return result_;
  }

 private:
  std::array<int, 2> pipe_{};
  std::binary_semaphore begun_{0};
  std::atomic<ssize_t> result_{0};
  std::thread thread_;
};

class ThreadStackTest : public testing::Test {
 protected:
  ThreadStackTest() { EXPECT_TRUE(prepare_stacks()); }
};

TEST_F(ThreadStackTest, names_functions_and_places_of_modules) {
  ReadingThread thread;
  const std::string text = thread.stack_inside();
  EXPECT_THAT(text, HasSubstr("extprocd::server::reads_here() ("));
  EXPECT_THAT(text, MatchesRegex(".* \\([a-z_.0-9+-]+\\+0x[0-9a-f]+\\)( < .*)?"));
}

TEST_F(ThreadStackTest, begins_where_the_thread_was_and_not_in_what_noted_it) {
  ReadingThread thread;
  const std::string text = thread.stack_inside();
  EXPECT_THAT(text, Not(HasSubstr("on_signal")));
  EXPECT_THAT(text, Not(HasSubstr("backtrace")));
}

TEST_F(ThreadStackTest, the_thread_goes_on_as_if_nothing_had_happened) {
  ReadingThread thread;
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(thread.stack());
  EXPECT_EQ(thread.go_on(), 1);
}

TEST_F(ThreadStackTest, what_could_not_be_sent_gives_nothing) {
  EXPECT_FALSE(take_stack([](int, int) { return false; }));
}

TEST_F(ThreadStackTest, a_thread_that_answers_too_late_disturbs_nobody) {
  ReadingThread deaf(/*blocks_signals=*/true);
  EXPECT_FALSE(deaf.stack(kShort));
  ReadingThread other;
  EXPECT_EQ(deaf.go_on(), 1);  // its signal comes here, while nobody waits for it
  EXPECT_THAT(other.stack_inside(), HasSubstr("reads_here"));
}

TEST_F(ThreadStackTest, signals_that_others_send_are_ignored) {
  ReadingThread thread;
  EXPECT_FALSE(take_stack([](int signal, int) { return raise(signal) == 0; }, kShort));
  EXPECT_THAT(thread.stack_inside(), HasSubstr("reads_here"));
}

}  // namespace
}  // namespace extprocd::server
