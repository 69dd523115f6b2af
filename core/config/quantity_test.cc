#include "core/config/quantity.h"

#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

TEST(Quantity, sizes) {
  EXPECT_EQ(parse_size("64MiB"), 64U << 20);
  EXPECT_EQ(parse_size("1 GiB"), 1U << 30);
  EXPECT_EQ(parse_size("500KB"), 500000U);
  EXPECT_EQ(parse_size("7"), 7U);
  for (const auto* bad :
       {"", "MiB", "-1", "1.5MiB", "1mib", "1TB", "99999999999999999999", "18446744073709551615KiB"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

TEST(Quantity, durations) {
  EXPECT_EQ(parse_duration("500ms"), 0.5);
  EXPECT_EQ(parse_duration("2.5s"), 2.5);
  EXPECT_EQ(parse_duration("1m"), 60);
  EXPECT_EQ(parse_duration("1h"), 3600);
  for (const auto* bad : {"", "s", "5", "-1s", "1d", "1s2"})
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace extprocd::config
