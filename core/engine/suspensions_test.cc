#include "core/engine/suspensions.h"

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

class InlineExecutor final : public Executor {
 public:
  void post(std::function<void()> work) override { work(); }
};

struct Counter final : Suspensions::Waiter {
  void resumed(const Suspensions& /*plugin*/, Suspensions::Handle handle, uint64_t token) override {
    last_handle = handle;
    last_token = token;
    ++times;
  }
  std::atomic<Suspensions::Handle> last_handle{0};
  std::atomic<uint64_t> last_token{0};
  std::atomic<int> times{0};
};

TEST(Suspensions, a_handle_resumes_once_with_its_token) {
  Suspensions suspensions;
  Counter waiter;
  const auto handle = suspensions.open(std::make_shared<InlineExecutor>(), waiter);
  EXPECT_NE(handle, 0U);
  EXPECT_TRUE(suspensions.is_waiting(handle));
  EXPECT_TRUE(suspensions.resume(handle, 7));
  EXPECT_EQ(waiter.last_handle, handle);
  EXPECT_EQ(waiter.last_token, 7U);
  EXPECT_FALSE(suspensions.is_waiting(handle));
  EXPECT_FALSE(suspensions.resume(handle, 8));
  EXPECT_FALSE(suspensions.close(handle));
  EXPECT_EQ(waiter.times, 1);
}

TEST(Suspensions, a_closed_or_unknown_handle_resumes_nobody) {
  Suspensions suspensions;
  Counter waiter;
  const auto handle = suspensions.open(std::make_shared<InlineExecutor>(), waiter);
  EXPECT_TRUE(suspensions.close(handle));
  EXPECT_FALSE(suspensions.close(handle));
  for (const Suspensions::Handle wrong :
       {handle, Suspensions::Handle{0}, handle + 1, ~Suspensions::Handle{0}}) {
    EXPECT_FALSE(suspensions.resume(wrong, 0)) << wrong;
    EXPECT_FALSE(suspensions.is_waiting(wrong)) << wrong;
  }
  EXPECT_EQ(waiter.times, 0);
}

TEST(Suspensions, who_claims_a_handle_is_the_one_who_resumes_it) {
  Suspensions suspensions;
  Counter waiter;
  const auto handle = suspensions.open(std::make_shared<InlineExecutor>(), waiter);
  EXPECT_TRUE(suspensions.claim(handle));
  EXPECT_FALSE(suspensions.is_waiting(handle));
  EXPECT_FALSE(suspensions.resume(handle, 0));
  EXPECT_FALSE(suspensions.claim(handle));
  const auto resumed = suspensions.open(std::make_shared<InlineExecutor>(), waiter);
  EXPECT_TRUE(suspensions.resume(resumed, 0));
  EXPECT_FALSE(suspensions.claim(resumed));
  EXPECT_EQ(waiter.times, 1);
}

TEST(Suspensions, no_handle_comes_twice_though_places_do) {
  Suspensions suspensions;
  Counter waiter;
  const auto executor = std::make_shared<InlineExecutor>();
  std::set<Suspensions::Handle> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto handle = suspensions.open(executor, waiter);
    EXPECT_TRUE(seen.insert(handle).second);
    suspensions.close(handle);
  }
  for (const auto old : seen) EXPECT_FALSE(suspensions.resume(old, 0));
}

TEST(Suspensions, of_ten_threads_that_resume_one_does) {
  Suspensions suspensions;
  Counter waiter;
  const auto executor = std::make_shared<InlineExecutor>();
  for (int round = 1; round <= 200; ++round) {
    const auto handle = suspensions.open(executor, waiter);
    std::atomic<int> taken{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) {
      threads.emplace_back([&] { taken += suspensions.resume(handle, 1) ? 1 : 0; });
    }
    for (auto& thread : threads) thread.join();
    suspensions.close(handle);
    ASSERT_EQ(taken, 1);
    ASSERT_EQ(waiter.times, round);
  }
}

}  // namespace
}  // namespace extprocd::engine
