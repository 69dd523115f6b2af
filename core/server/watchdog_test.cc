#include "core/server/watchdog.h"

#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <extproc/abi.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/plugin_host.h"
#include "core/server/thread_stack.h"

namespace extprocd::server {

/// What the stack must name.
[[gnu::noinline]] int blocks_here(std::binary_semaphore& until) {
  until.acquire();
  return 1;  // no tail call
}

namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

constexpr milliseconds kAfter{100};

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() {
    entry_.name = "slow";
    host_ = std::make_unique<engine::PluginHost>(entry_, "", "test", 0, registry_);
  }
  ~WatchdogTest() override { let_go(); }

  /// A thread inside a callback.
  void block(uint32_t phase = EXTPROC_REQUEST_BODY) {
    thread_ = std::thread([this, phase] {
      const engine::CallbackScope scope(*host_, phase);
      begun_.release();
      blocks_here(until_);
    });
    begun_.acquire();
    while (!is_inside()) {
    }
  }
  void let_go() {
    if (!thread_.joinable()) return;
    until_.release();
    thread_.join();
  }

  /// Has the thread come to where it blocks?
  static bool is_inside() {
    const auto running = engine::running_callbacks().at(0);
    const auto stack =
        take_stack([&](int signal, int value) { return engine::signal_callback(running, signal, value); });
    return stack && describe_stack(*stack).find("blocks_here") != std::string::npos;
  }

  /// The lines since the last call.
  std::vector<std::string> lines() { return std::exchange(lines_, {}); }
  uint64_t reports(const std::string& phase = "request_body") {
    return telemetry::watchdog_reports(registry_, "slow", phase).value();
  }
  double blocked() { return registry_.gauge("extproc_blocked_threads", "").value(); }

  config::Plugin entry_;
  telemetry::Registry registry_{2};
  std::unique_ptr<engine::PluginHost> host_;
  std::vector<std::string> lines_;
  Watchdog watchdog_{kAfter, registry_, [this](std::string_view logger, const std::string& text) {
                       lines_.push_back(std::string(logger) + ": " + text);
                     }};
  const Watchdog::Clock::time_point start_{std::chrono::hours(1)};
  std::binary_semaphore begun_{0};
  std::binary_semaphore until_{0};
  std::thread thread_;
};

TEST_F(WatchdogTest, a_callback_that_keeps_a_thread_is_reported_once_with_plugin_phase_time_and_stack) {
  block();
  watchdog_.look(start_);
  watchdog_.look(start_ + milliseconds(99));
  EXPECT_THAT(lines(), IsEmpty());
  EXPECT_EQ(reports(), 0U);
  watchdog_.look(start_ + milliseconds(100));
  EXPECT_THAT(lines(),
              ElementsAre(MatchesRegex("plugin.slow: has kept thread [0-9]+ in request_body for 100 ms: "
                                       ".*extprocd::server::blocks_here\\(\\).*")));
  EXPECT_EQ(reports(), 1U);
  EXPECT_EQ(blocked(), 1);
  watchdog_.look(start_ + milliseconds(999));
  EXPECT_THAT(lines(), IsEmpty());
  EXPECT_EQ(reports(), 1U);
}

TEST_F(WatchdogTest, when_it_returns_at_last_the_whole_time_is_told) {
  block();
  watchdog_.look(start_);
  watchdog_.look(start_ + milliseconds(150));
  lines();
  let_go();
  watchdog_.look(start_ + milliseconds(250));
  EXPECT_THAT(lines(), ElementsAre("plugin.slow: returned from request_body after 250 ms"));
  EXPECT_EQ(blocked(), 0);
}

TEST_F(WatchdogTest, one_that_returns_in_time_is_not_mentioned) {
  block();
  watchdog_.look(start_);
  watchdog_.look(start_ + milliseconds(99));
  let_go();
  watchdog_.look(start_ + milliseconds(200));
  EXPECT_THAT(lines(), IsEmpty());
  EXPECT_EQ(reports(), 0U);
}

TEST_F(WatchdogTest, many_short_callbacks_are_not_one_long_one) {
  for (int i = 0; i < 10; ++i) {
    block();
    watchdog_.look(start_ + milliseconds(50) * i);
    let_go();
  }
  EXPECT_THAT(lines(), IsEmpty());
}

TEST_F(WatchdogTest, one_that_never_returns_is_mentioned_again_when_it_took_twenty_times_as_long) {
  block(EXTPROC_PHASE_COUNT);
  for (int i = 0; i <= 410; ++i) watchdog_.look(start_ + milliseconds(100) * i);
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("in stream_end for 100 ms"), HasSubstr("for 2000 ms"),
                                   HasSubstr("for 40000 ms")));
  EXPECT_EQ(reports("stream_end"), 1U);
}

TEST_F(WatchdogTest, a_plugin_gets_a_line_a_second_and_all_are_counted) {
  for (int i = 0; i < 5; ++i) {
    block();
    watchdog_.look(start_ + milliseconds(220) * i);
    watchdog_.look(start_ + milliseconds(220) * i + kAfter);
    let_go();
    watchdog_.look(start_ + milliseconds(220) * i + kAfter + milliseconds(10));
  }
  EXPECT_EQ(lines().size(), 2U);  // of blocking, of returning
  EXPECT_EQ(reports(), 5U);
  block();
  watchdog_.look(start_ + milliseconds(1100));
  watchdog_.look(start_ + milliseconds(1200));
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("(4 earlier lines like this were not logged)")));
}

TEST_F(WatchdogTest, looks_by_itself_once_it_is_started) {
  std::binary_semaphore said{0};
  Watchdog watchdog(milliseconds(10), registry_,
                    [&](std::string_view, const std::string&) { said.release(); });
  block();
  watchdog.start();
  said.acquire();
}

}  // namespace
}  // namespace extprocd::server
