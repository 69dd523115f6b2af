#include "core/telemetry/cycle_clock.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace extprocd::telemetry {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kBeside = microseconds(20);

/// Reads it all the time for so long, with breaks in which others may have the processor.
void expect_the_steady_clocks_time(steady_clock::duration so_long) {
  const auto end = steady_clock::now() + so_long;
  auto last = cycle_clock_now();
  while (last < end) {
    for (int i = 0; i < 1000; ++i) {
      const auto before = steady_clock::now();
      const auto now = cycle_clock_now();
      const auto after = steady_clock::now();
      ASSERT_GE(now, last) << "it went back";
      ASSERT_GE(now, before - kBeside);
      ASSERT_LE(now, after + kBeside);
      last = now;
    }
    std::this_thread::sleep_for(microseconds(300));
  }
}

TEST(CycleClock, has_the_steady_clocks_time_and_never_goes_back) {
  expect_the_steady_clocks_time(milliseconds(200));
}

TEST(CycleClock, has_it_after_long_sleeps) {
  for (int i = 0; i < 3; ++i) {
    expect_the_steady_clocks_time(milliseconds(5));
    std::this_thread::sleep_for(milliseconds(50));
  }
}

TEST(CycleClock, has_it_on_every_thread) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([] { expect_the_steady_clocks_time(milliseconds(50)); });
  for (auto& thread : threads) thread.join();
}

TEST(CycleClock, tells_what_takes_less_than_a_microsecond) {
  // The shortest of many, so that who is interrupted does not count.
  auto shortest = steady_clock::duration::max();
  for (int i = 0; i < 100000; ++i) {
    const auto begun = cycle_clock_now();
    shortest = std::min(shortest, cycle_clock_now() - begun);
  }
  EXPECT_LT(shortest, microseconds(1));
}

}  // namespace
}  // namespace extprocd::telemetry
