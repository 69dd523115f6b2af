#include "core/telemetry/log.h"

#include <gtest/gtest.h>

namespace extprocd::telemetry {
namespace {

const std::chrono::system_clock::time_point kTime{std::chrono::microseconds(1700000000000001)};

TEST(Log, a_json_line_is_valid_whatever_the_message_holds) {
  EXPECT_EQ(
      format_line(true, kTime, Level::kWarn, "plugin.a", "say \"hi\"\\\n\x01 gr\xc3\xbc\xff\xed\xa0\x80"),
      "{\"time\":\"2023-11-14T22:13:20.000001Z\",\"level\":\"warn\",\"logger\":\"plugin.a\",\"message\":"
      "\"say \\\"hi\\\"\\\\\\n\\u0001 gr\xc3\xbc\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}");
}

TEST(Log, a_text_line_stays_one_line) {
  EXPECT_EQ(format_line(false, kTime, Level::kInfo, "server", "a\nb\x1b[31m"),
            "2023-11-14T22:13:20.000001Z info server: a\\nb\\u001b[31m");
}

TEST(Log, the_level_decides_what_is_written) {
  init_log("warn", "text");
  EXPECT_FALSE(enabled(Level::kInfo));
  EXPECT_TRUE(enabled(Level::kError));
  init_log("off", "text");
  EXPECT_FALSE(enabled(Level::kError));
  init_log("info", "json");
  EXPECT_TRUE(enabled(Level::kInfo));
}

TEST(RateLimitTest, lets_one_line_an_interval_through_and_counts_the_rest) {
  RateLimit limit(2);
  const RateLimit::Clock::time_point start{std::chrono::hours(1)};
  EXPECT_TRUE(limit.allow(start));
  EXPECT_FALSE(limit.allow(start + std::chrono::milliseconds(499)));
  EXPECT_FALSE(limit.allow(start + std::chrono::milliseconds(499)));
  EXPECT_TRUE(limit.allow(start + std::chrono::milliseconds(500)));
  EXPECT_EQ(limit.take_suppressed(), 2U);
  EXPECT_EQ(limit.take_suppressed(), 0U);
}

}  // namespace
}  // namespace extprocd::telemetry
