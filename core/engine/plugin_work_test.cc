#include "core/engine/plugin_work.h"

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/generation.h"

namespace extprocd::engine {
namespace {

constexpr uint64_t kHour = 3'600'000'000'000;

/// What became of a piece of work.
struct Outcome {
  std::promise<uint32_t> promise;
  std::future<uint32_t> dropped = promise.get_future();

  static void tell(void* data, uint32_t dropped) { static_cast<Outcome*>(data)->promise.set_value(dropped); }
  [[nodiscard]] bool is_known() const {
    return dropped.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
};

class PluginWorkTest : public testing::Test {
 public:
  PluginWorkTest() {
    entry_.name = "worker";
    host_ = std::make_unique<PluginHost>(entry_, "f.toml", "test.worker", 1, registry_, &workers_);
  }
  extproc_status run(uint64_t delay_ns, extproc_work work, void* data) {
    const extproc_host* const table = host_->table();
    const auto* const api = static_cast<const extproc_work_api*>(table->get_extension(table, EXTPROC_WORK_1));
    return api->run(table, delay_ns, work, data);
  }

 protected:
  telemetry::Registry registry_{2};
  WorkerPool workers_{{.threads = 2, .max_queue = 2}, registry_};
  config::Plugin entry_;
  std::unique_ptr<PluginHost> host_;
};

TEST_F(PluginWorkTest, runs_on_another_thread) {
  host_->work().begin();
  struct {
    std::promise<std::thread::id> thread;
  } seen;
  const auto tell = [](void* data, uint32_t) {
    static_cast<decltype(seen)*>(data)->thread.set_value(std::this_thread::get_id());
  };
  ASSERT_EQ(run(0, tell, &seen), EXTPROC_OK);
  EXPECT_NE(seen.thread.get_future().get(), std::this_thread::get_id());
}

TEST_F(PluginWorkTest, what_create_hands_over_runs_when_the_instance_is_there) {
  Outcome now;
  Outcome soon;
  ASSERT_EQ(run(0, &Outcome::tell, &now), EXTPROC_OK);
  ASSERT_EQ(run(1000, &Outcome::tell, &soon), EXTPROC_OK);
  EXPECT_EQ(run(0, &Outcome::tell, nullptr), EXTPROC_LIMIT) << "max_queue holds in create too";
  EXPECT_EQ(workers_.queue_length(), 0U);
  EXPECT_FALSE(now.is_known());
  host_->work().begin();
  EXPECT_EQ(now.dropped.get(), 0U);
  EXPECT_EQ(soon.dropped.get(), 0U);
}

TEST_F(PluginWorkTest, what_a_create_that_failed_had_handed_over_is_dropped) {
  Outcome never;
  ASSERT_EQ(run(0, &Outcome::tell, &never), EXTPROC_OK);
  host_.reset();
  ASSERT_TRUE(never.is_known());
  EXPECT_EQ(never.dropped.get(), 1U);
}

TEST_F(PluginWorkTest, is_dropped_when_its_plugin_ends_and_none_is_taken_behind_that) {
  host_->work().begin();
  Outcome later;
  Outcome too_late;
  ASSERT_EQ(run(kHour, &Outcome::tell, &later), EXTPROC_OK);
  host_->work().end();
  ASSERT_TRUE(later.is_known());
  EXPECT_EQ(later.dropped.get(), 1U);
  EXPECT_EQ(run(0, &Outcome::tell, &too_late), EXTPROC_TOO_LATE);
  host_.reset();
  EXPECT_FALSE(too_late.is_known());
}

TEST_F(PluginWorkTest, that_hands_over_more_for_ever_does_not_hold_the_end_up) {
  host_->work().begin();
  struct Again {
    PluginWorkTest* test;
    std::atomic<int> runs{0};
    static void go(void* data, uint32_t dropped) {
      auto& self = *static_cast<Again*>(data);
      if (dropped != 0) return;
      ++self.runs;
      self.test->run(0, &go, data);
    }
  } again{this};
  ASSERT_EQ(run(0, &Again::go, &again), EXTPROC_OK);
  while (again.runs < 10) std::this_thread::yield();
  host_->work().end();
  const int runs = again.runs;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(again.runs, runs);
}

TEST_F(PluginWorkTest, is_refused_without_a_function_over_the_bound_and_without_workers) {
  host_->work().begin();
  EXPECT_EQ(run(0, nullptr, nullptr), EXTPROC_INVALID);
  Outcome first;
  Outcome second;
  ASSERT_EQ(run(kHour, &Outcome::tell, &first), EXTPROC_OK);
  ASSERT_EQ(run(kHour, &Outcome::tell, &second), EXTPROC_OK);
  EXPECT_EQ(run(kHour, &Outcome::tell, nullptr), EXTPROC_LIMIT);
  PluginHost without(entry_, "f.toml", "test.worker", 1, registry_);
  without.work().begin();
  EXPECT_EQ(without.work().run(0, &Outcome::tell, nullptr), EXTPROC_UNSUPPORTED);
  host_->work().end();
}

TEST_F(PluginWorkTest, may_let_an_exception_out) {
  host_->work().begin();
  ASSERT_EQ(run(0, [](void*, uint32_t) { throw std::runtime_error("out"); }, nullptr), EXTPROC_OK);
  Outcome next;
  while (run(0, &Outcome::tell, &next) != EXTPROC_OK) std::this_thread::yield();
  EXPECT_EQ(next.dropped.get(), 0U);
}

}  // namespace
}  // namespace extprocd::engine
