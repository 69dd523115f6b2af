#include "core/config/protection.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

using testing::HasSubstr;

std::string first_error(const std::string& text) {
  const LoadResult result = load_text(text, "f.toml");
  return result.errors.empty() ? "" : result.errors[0].to_string();
}

Config read(const std::string& text) {
  LoadResult result = load_text(text, "f.toml");
  EXPECT_EQ(result.errors.size(), 0U) << first_error(text);
  return std::move(result.config);
}

std::string plugin(const std::string& quarantine) {
  return "[[plugin]]\nname = 'a'\nmodule = 'a.so'\n[plugin.quarantine]\n" + quarantine;
}

TEST(Protection, all_keys_are_read) {
  const Config config = read(R"(
[server.watchdog]
after = "1s"
[server.overload]
max_streams = 10
max_held_bytes = "1MiB"
max_waiting = 20
policy = "deny"
deny_status = 429
[[plugin]]
name = "a"
module = "a.so"
[plugin.quarantine]
failures = 5
window = "2s"
duration = "1m"
policy = "skip"
)");
  EXPECT_EQ(config.server.watchdog.after, 1);
  const Overload& overload = config.server.overload;
  EXPECT_EQ(overload.max_streams, 10U);
  EXPECT_EQ(overload.max_held_bytes, 1U << 20);
  EXPECT_EQ(overload.max_waiting, 20U);
  EXPECT_EQ(overload.policy, FailurePolicy::kDeny);
  EXPECT_EQ(overload.deny_status, 429U);
  const Quarantine& quarantine = config.plugin[0].quarantine;
  EXPECT_EQ(quarantine.failures, 5U);
  EXPECT_EQ(quarantine.window, 2);
  EXPECT_EQ(quarantine.duration, 60);
  EXPECT_EQ(quarantine.policy, FailurePolicy::kSkip);
}

TEST(Protection, only_the_watchdog_is_on_unasked) {
  const Config config = read(plugin(""));
  EXPECT_EQ(config.server.watchdog.after, 0.1);
  EXPECT_EQ(config.server.overload.max_streams, 0U);
  EXPECT_EQ(config.server.overload.max_held_bytes, 0U);
  EXPECT_EQ(config.server.overload.max_waiting, 0U);
  EXPECT_EQ(config.plugin[0].quarantine.failures, 0U);
  EXPECT_EQ(config.plugin[0].quarantine.policy, FailurePolicy::kDeny);
  EXPECT_EQ(read("[server.watchdog]\nafter = 0").server.watchdog.after, 0);
}

TEST(Protection, the_reference_file_states_the_defaults) {
  const LoadResult file = load_file(EXTPROCD_SOURCE_DIR "/config/reference.toml");
  ASSERT_TRUE(file.errors.empty()) << file.errors[0].to_string();
  const Server fresh;
  EXPECT_EQ(file.config.server.watchdog.after, fresh.watchdog.after);
  EXPECT_EQ(file.config.server.overload.max_streams, fresh.overload.max_streams);
  EXPECT_EQ(file.config.server.overload.max_held_bytes, fresh.overload.max_held_bytes);
  EXPECT_EQ(file.config.server.overload.max_waiting, fresh.overload.max_waiting);
  EXPECT_EQ(file.config.server.overload.policy, fresh.overload.policy);
  EXPECT_EQ(file.config.server.overload.deny_status, fresh.overload.deny_status);
  const Quarantine& quarantine = file.config.plugin[0].quarantine;
  EXPECT_EQ(quarantine.failures, Quarantine().failures);
  EXPECT_EQ(quarantine.window, Quarantine().window);
  EXPECT_EQ(quarantine.duration, Quarantine().duration);
  EXPECT_EQ(quarantine.policy, Quarantine().policy);
}

TEST(Protection, what_is_wrong_is_shown_with_its_place) {
  for (const auto& [text, part] : std::initializer_list<std::pair<std::string, std::string>>{
           {"[server.watchdog]\nafter = '1ms'", "f.toml:2:1: server.watchdog.after must be a duration of"},
           {"[server.watchdog]\nafer = 1", "did you mean 'after'"},
           {"[server.overload]\nmax_held_bytes = 'much'", "must be a size"},
           {"[server.overload]\ndeny_status = 99", "from 200 to 599"},
           {"[server.overload]\npolicy = 'refuse'", "fail, deny, skip"},
           {"[server.overload]\nmax_stream = 1", "did you mean 'max_streams'"},
           {plugin("failures = -1"), "f.toml:5:1: plugin.quarantine.failures must be from 0"},
           {plugin("policy = 'fail'"), "must be one of deny, skip, not 'fail'"},
           {plugin("window = 0"), "must be a duration of at least 100 ms"},
           {plugin("time = 1"), "unknown key 'plugin.quarantine.time'"}}) {
    EXPECT_THAT(first_error(text), HasSubstr(part)) << text;
  }
}

TEST(Protection, an_overload_that_the_limits_would_always_prevent_is_refused) {
  EXPECT_THAT(
      first_error("[server.overload]\nmax_streams = 100000"),
      HasSubstr("f.toml:2:1: server.overload.max_streams must be less than server.limits.max_streams, "
                "100000"));
  EXPECT_EQ(first_error("[server.overload]\nmax_streams = 99999"), "");
  EXPECT_THAT(
      first_error(
          "[server.overload]\nmax_held_bytes = '1MiB'\n[server.limits]\nmax_total_held_bytes = '1MiB'"),
      HasSubstr("server.limits.max_total_held_bytes"));
}

}  // namespace
}  // namespace extprocd::config
