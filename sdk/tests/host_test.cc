#include <chrono>
#include <memory>
#include <stdexcept>
#include <vector>

#include "sdk/tests/fake_host.h"
#include "sdk/tests/waiter.h"
#include <extproc/host.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::Status;
using extproc_test::Counted;
using extproc_test::FakeHost;
using testing::ElementsAre;
using testing::IsEmpty;

/// Counts how often it is written.
struct Noisy {
  int* count;
  friend std::ostream& operator<<(std::ostream& out, const Noisy& noisy) {
    ++*noisy.count;
    return out << "noise";
  }
};

TEST(Host, names_come_from_the_table) {
  FakeHost fake;
  const extproc::Host host(&fake);
  EXPECT_EQ(host.name(), "under-test");
  EXPECT_EQ(host.version(), "1.2.3");
}

TEST(Host, a_level_that_is_off_is_not_even_formatted) {
  FakeHost fake;
  const extproc::Host host(&fake);
  int written = 0;
  host.debug("not ", Noisy{&written});
  EXPECT_EQ(written, 0);
  host.warn("this is ", Noisy{&written}, ' ', 3);
  host.error("bad");
  EXPECT_EQ(written, 1);
  EXPECT_THAT(fake.log_lines, ElementsAre("3:this is noise 3", "4:bad"));
}

TEST(Host, metrics_reach_the_host) {
  FakeHost fake;
  extproc::Host host(&fake);
  const extproc::Counter counter = host.counter("seen_total", "Seen.", {{"kind", "a"}});
  const extproc::Gauge gauge = host.gauge("level", "Level.");
  const extproc::Histogram histogram = host.histogram("size_bytes", "Size.", {1, 2});
  counter.increment();
  counter.increment(2);
  gauge.set(5);
  gauge.add(-1);
  histogram.observe(0.5);
  EXPECT_EQ(fake.metrics["seen_total kind=a"].value, 3);
  EXPECT_EQ(fake.metrics["level"].value, 4);
  EXPECT_EQ(fake.metrics["size_bytes"].observations, 1);
  EXPECT_FALSE(host.metric_failed());
}

TEST(Host, metrics_that_were_never_made_or_refused_do_nothing) {
  extproc::Counter().increment();
  extproc::Gauge().set(1);
  extproc::Histogram().observe(1);

  FakeHost poor;
  poor.has_extensions = false;
  extproc::Host host(&poor);
  host.counter("a", "").increment();
  EXPECT_FALSE(host.metric_failed()) << "a host without metrics is no error";
  EXPECT_THAT(poor.errors, IsEmpty());

  FakeHost strict;
  strict.refuse_metrics = true;
  extproc::Host other(&strict);
  other.gauge("a", "").add(1);
  EXPECT_TRUE(other.metric_failed());
}

TEST(HostWork, runs_once_on_a_worker_and_is_destroyed) {
  Counted::alive = 0;
  FakeHost fake;
  const extproc::Host host(&fake);
  int ran = 0;
  host.run_on_worker([&ran, owned = std::make_unique<Counted>()] { ++ran; });
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(Counted::alive, 1);
  fake.work.run();
  fake.work.run();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(Counted::alive, 0);
}

TEST(HostWork, may_be_put_off) {
  FakeHost fake;
  const extproc::Host host(&fake);
  int ran = 0;
  host.run_on_worker([&] { ++ran; });
  host.run_on_worker_after(std::chrono::milliseconds(5), [&] { ++ran; });
  host.run_on_worker_after(std::chrono::seconds(-1), [&] { ++ran; });
  EXPECT_THAT(fake.work.delays, ElementsAre(0U, 5'000'000U, 0U));
  fake.work.run();
  EXPECT_EQ(ran, 3);
}

TEST(HostWork, that_is_dropped_is_destroyed_without_running) {
  Counted::alive = 0;
  FakeHost fake;
  const extproc::Host host(&fake);
  host.run_on_worker([owned = Counted()] { ADD_FAILURE() << "ran"; });
  EXPECT_EQ(Counted::alive, 1);
  fake.work.drop();
  EXPECT_EQ(Counted::alive, 0);
}

TEST(HostWork, that_is_refused_is_destroyed_and_the_caller_is_told) {
  Counted::alive = 0;
  FakeHost fake;
  fake.work.answer = EXTPROC_LIMIT;
  const extproc::Host host(&fake);
  const auto work = [owned = Counted()] {};
  EXPECT_EQ(host.try_run_on_worker(work), Status::kLimit);
  EXPECT_EQ(host.try_run_on_worker_after(std::chrono::seconds(1), work), Status::kLimit);
  try {
    host.run_on_worker(work);
    ADD_FAILURE() << "not refused";
  } catch (const extproc::Refused& refused) {
    EXPECT_EQ(refused.status(), Status::kLimit);
    EXPECT_STREQ(refused.what(), "run_on_worker: over a limit: too much work waits already");
  }
  EXPECT_THROW(host.run_on_worker_after(std::chrono::seconds(1), work), extproc::Refused);
  EXPECT_EQ(Counted::alive, 1);
}

TEST(HostWork, whose_exception_leaves_it_is_logged_and_destroyed) {
  Counted::alive = 0;
  FakeHost fake;
  const extproc::Host host(&fake);
  host.run_on_worker([owned = Counted()] { throw std::runtime_error("no database"); });
  host.run_on_worker([owned = Counted()] { throw 42; });
  fake.work.run();
  EXPECT_THAT(fake.log_lines,
              ElementsAre("4:exception in work on a worker: no database", "4:exception in work on a worker"));
  EXPECT_EQ(Counted::alive, 0);
}

TEST(HostWork, is_refused_by_an_old_host) {
  FakeHost old;
  old.has_extensions = false;
  old.abi_minor = 1;
  const extproc::Host host(&old);
  EXPECT_EQ(host.try_run_on_worker([] {}), Status::kUnsupported);
  try {
    host.run_on_worker([] {});
    ADD_FAILURE() << "not refused";
  } catch (const extproc::Refused& refused) {
    EXPECT_STREQ(refused.what(),
                 "run_on_worker: unsupported: this server is too old, it speaks contract 1.1");
  }
}

}  // namespace
