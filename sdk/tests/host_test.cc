#include "sdk/tests/fake_host.h"
#include <extproc/host.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

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

}  // namespace
