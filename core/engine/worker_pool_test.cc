#include "core/engine/worker_pool.h"

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

/// Keeps a thread of a pool until it is let go, at the latest when it goes out of scope.
class Occupied {
 public:
  explicit Occupied(WorkerPool& pool, const void* owner = nullptr) {
    pool.submit_always(
        [this, let_go = let_go_.get_future()](bool) {
          begun_.set_value();
          let_go.wait();
        },
        owner);
    begun_.get_future().wait();
  }
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;
  ~Occupied() { let_go(); }
  void let_go() {
    if (!std::exchange(gone_, true)) let_go_.set_value();
  }

 private:
  std::promise<void> begun_;
  std::promise<void> let_go_;
  bool gone_ = false;
};

class WorkerPoolTest : public testing::Test {
 protected:
  WorkerPool& pool(uint32_t threads = 1, uint32_t max_queue = 4) {
    pool_ = std::make_unique<WorkerPool>(config::Workers{threads, max_queue}, registry_);
    return *pool_;
  }
  /// A job that notes what became of it.
  WorkerPool::Job note(std::string name) {
    return [this, name = std::move(name)](bool dropped) {
      const std::lock_guard lock(mutex_);
      notes_.push_back(name + (dropped ? " dropped" : ""));
    };
  }
  /// Waits until the pool has done all it has to.
  std::vector<std::string> notes() {
    pool_.reset();
    return notes_;
  }

  telemetry::Registry registry_{2};
  std::mutex mutex_;
  std::vector<std::string> notes_;
  std::unique_ptr<WorkerPool> pool_;
};

TEST_F(WorkerPoolTest, runs_what_waits_in_the_order_in_which_it_came) {
  WorkerPool& one = pool(1);
  {
    const Occupied thread(one);
    for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(one.submit(note(name)));
  }
  EXPECT_THAT(notes(), ElementsAre("a", "b", "c"));
}

TEST_F(WorkerPoolTest, takes_no_more_than_max_queue_but_what_must_not_be_lost) {
  WorkerPool& one = pool(1, 2);
  {
    const Occupied thread(one);
    EXPECT_TRUE(one.submit(note("a")));
    EXPECT_TRUE(one.submit(note("b")));
    EXPECT_EQ(one.queue_length(), 2U);
    EXPECT_FALSE(one.submit(note("over")));
    one.submit_always(note("end"));
    EXPECT_THAT(registry_.text(), HasSubstr("extproc_worker_queue_length 3\n"));
    EXPECT_THAT(registry_.text(), HasSubstr("extproc_workers_busy 1\n"));
  }
  EXPECT_THAT(notes(), ElementsAre("a", "b", "end"));
  EXPECT_THAT(registry_.text(), HasSubstr("extproc_worker_jobs_total{result=\"run\"} 4\n"));
  EXPECT_THAT(registry_.text(), HasSubstr("extproc_worker_jobs_total{result=\"refused\"} 1\n"));
  EXPECT_THAT(registry_.text(), HasSubstr("extproc_worker_queue_length 0\n"));
  EXPECT_THAT(registry_.text(), HasSubstr("extproc_workers_busy 0\n"));
  EXPECT_THAT(registry_.text(), HasSubstr("extproc_worker_wait_seconds_count 4\n"));
}

TEST_F(WorkerPoolTest, runs_as_many_at_once_as_it_has_threads) {
  WorkerPool& three = pool(3, 8);
  const Occupied first(three);
  const Occupied second(three);
  const Occupied third(three);
  EXPECT_TRUE(three.submit(note("waits")));
  EXPECT_EQ(three.queue_length(), 1U);
}

TEST_F(WorkerPoolTest, begins_no_thread_while_one_is_free) {
  WorkerPool& many = pool(64, 8);
  std::set<std::thread::id> seen;
  for (int i = 0; i < 50; ++i) {
    std::promise<std::thread::id> ran;
    many.submit_always([&](bool) { ran.set_value(std::this_thread::get_id()); });
    seen.insert(ran.get_future().get());
  }
  // The one that ran the last job may not have come back yet.
  EXPECT_LT(seen.size(), 50U);
}

TEST_F(WorkerPoolTest, work_waits_for_its_time_and_what_is_sooner_goes_first) {
  WorkerPool& one = pool(1);
  std::promise<void> ran;
  EXPECT_TRUE(one.submit_after(hours(1), note("later")));
  EXPECT_TRUE(one.submit_after(milliseconds(2), [&](bool dropped) {
    note("soon")(dropped);
    ran.set_value();
  }));
  EXPECT_TRUE(one.submit(note("now")));
  ran.get_future().wait();
  EXPECT_THAT(notes(), ElementsAre("now", "soon", "later dropped"));
}

TEST_F(WorkerPoolTest, a_thread_is_found_for_what_comes_while_another_keeps_the_time) {
  WorkerPool& two = pool(2);
  EXPECT_TRUE(two.submit_after(hours(1), note("later")));
  for (int i = 0; i < 100; ++i) {
    const auto meeting = std::make_shared<std::latch>(3);  // each needs a thread of its own
    for (int job = 0; job < 2; ++job) two.submit_always([meeting](bool) { meeting->arrive_and_wait(); });
    meeting->arrive_and_wait();
  }
  EXPECT_THAT(notes(), ElementsAre("later dropped"));
}

TEST_F(WorkerPoolTest, delays_are_counted_by_themselves) {
  WorkerPool& one = pool(1, 2);
  const Occupied thread(one);
  EXPECT_TRUE(one.submit_after(hours(1), note("a")));
  EXPECT_TRUE(one.submit_after(hours(1), note("b")));
  EXPECT_FALSE(one.submit_after(hours(1), note("over")));
  one.submit_always(note("kept"), nullptr, hours(1));
  EXPECT_TRUE(one.submit(note("c")));
  EXPECT_EQ(one.queue_length(), 1U);
}

TEST_F(WorkerPoolTest, a_delay_beyond_all_time_is_never_over) {
  WorkerPool& one = pool(1);
  EXPECT_TRUE(one.submit_after(WorkerPool::Duration::max(), note("never")));
  EXPECT_TRUE(one.submit(note("now")));
  EXPECT_THAT(notes(), testing::UnorderedElementsAre("now", "never dropped"));
}

TEST_F(WorkerPoolTest, what_an_owner_has_waiting_is_given_up_and_what_others_have_is_not) {
  WorkerPool& one = pool(1, 8);
  const int mine = 0;
  const int other = 0;
  {
    const Occupied thread(one);
    EXPECT_TRUE(one.submit(note("mine"), &mine));
    EXPECT_TRUE(one.submit(note("other"), &other));
    EXPECT_TRUE(one.submit_after(hours(1), note("mine, later"), &mine));
    EXPECT_TRUE(one.submit_after(hours(1), note("other, later"), &other));
    one.give_up(&mine);
    EXPECT_THAT(notes_, ElementsAre("mine dropped", "mine, later dropped"));
  }
  EXPECT_THAT(notes(), testing::UnorderedElementsAre("mine dropped", "mine, later dropped",
                                                     "other, later dropped", "other"));
}

TEST_F(WorkerPoolTest, giving_up_waits_for_what_runs) {
  WorkerPool& two = pool(2);
  const int mine = 0;
  std::promise<void> begun;
  std::atomic<bool> returned{false};
  two.submit_always(
      [&](bool) {
        begun.set_value();
        std::this_thread::sleep_for(milliseconds(20));
        returned = true;
      },
      &mine);
  begun.get_future().wait();
  two.give_up(&mine);
  EXPECT_TRUE(returned);
}

TEST_F(WorkerPoolTest, a_job_that_goes_may_give_up_an_owner_whose_job_it_was) {
  // As a generation does that goes with the last job that needs it.
  struct LastReference {
    WorkerPool* pool;
    const void* owner;
    std::promise<void>* gone;
    ~LastReference() {
      pool->give_up(owner);
      gone->set_value();
    }
  };
  WorkerPool& one = pool(1);
  const int mine = 0;
  std::promise<void> gone;
  one.submit_always([last = std::make_unique<LastReference>(&one, &mine, &gone)](bool) {}, &mine);
  gone.get_future().wait();
}

TEST_F(WorkerPoolTest, jobs_of_many_threads_are_each_done_once) {
  constexpr int kThreads = 4;
  constexpr int kJobs = 500;
  WorkerPool& some = pool(3, 50);
  std::atomic<int> run{0};
  std::atomic<int> dropped{0};
  std::atomic<int> refused{0};
  const int owners[2] = {};
  const auto count = [&](bool given_up) { ++(given_up ? dropped : run); };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kJobs; ++i) {
        const void* const owner = &owners[t % 2];
        const bool taken = i % 3 == 0 ? some.submit_after(std::chrono::microseconds(i), count, owner)
                                      : some.submit(count, owner);
        if (!taken) ++refused;
        if (t == 0 && i % 50 == 0) some.give_up(&owners[0]);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  pool_.reset();
  EXPECT_EQ(run + dropped + refused, kThreads * kJobs);
  EXPECT_GT(run, 0);
}

}  // namespace
}  // namespace extprocd::engine
