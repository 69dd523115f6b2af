#include "test/bench/load/latencies.h"

#include <gtest/gtest.h>

namespace extprocd::bench {
namespace {

using std::chrono::nanoseconds;

TEST(Latencies, QuantilesAreValuesThatWereMeasured) {
  Latencies latencies;
  for (int i = 1000; i > 0; --i) latencies.add(nanoseconds(i));
  EXPECT_EQ(latencies.count(), 1000u);
  EXPECT_EQ(latencies.quantile(0.5), nanoseconds(500));
  EXPECT_EQ(latencies.quantile(0.99), nanoseconds(990));
  EXPECT_EQ(latencies.quantile(0.999), nanoseconds(999));
  EXPECT_EQ(latencies.quantile(1), nanoseconds(1000));
  EXPECT_EQ(latencies.quantile(0), nanoseconds(1));
}

TEST(Latencies, OneValueIsEveryQuantile) {
  Latencies latencies;
  latencies.add(nanoseconds(7));
  EXPECT_EQ(latencies.quantile(0.5), nanoseconds(7));
  EXPECT_EQ(latencies.quantile(0.999), nanoseconds(7));
}

TEST(Latencies, NoValueIsZero) { EXPECT_EQ(Latencies().quantile(0.99), nanoseconds(0)); }

}  // namespace
}  // namespace extprocd::bench
