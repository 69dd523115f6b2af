#include "core/config/protection.h"

#include <array>
#include <limits>
#include <string>
#include <string_view>

namespace extprocd::config {
namespace {

constexpr double kShortestWatch = 0.01;
constexpr double kLongestWatch = 60;
constexpr uint32_t kMostFailures = 10000;
constexpr double kShortestWindow = 0.1;
constexpr double kLongestWindow = 3600;
constexpr double kLongestDuration = 86400;
constexpr uint32_t kMostStreams = std::numeric_limits<int32_t>::max();
constexpr uint32_t kMostWaiting = 1000000;

constexpr std::array<std::string_view, 2> kQuarantinePolicies = {"deny", "skip"};

void must_be_below(TableReader& table, std::string_view key, uint64_t value, std::string_view limit,
                   uint64_t limit_value) {
  if (value < limit_value) return;
  table.error(key, "must be less than " + std::string(limit) + ", " + std::to_string(limit_value) +
                       ", which would always bite before");
}

}  // namespace

void read_workers(TableReader& server, Workers& workers) {
  server.in_table("workers", [&](TableReader& table) {
    table.get("threads", workers.threads, 1, 1024);
    table.get("max_queue", workers.max_queue, 1, 1000000);
  });
}

void read_watchdog(TableReader& server, Watchdog& watchdog) {
  server.in_table("watchdog", [&](TableReader& table) {
    table.get_duration_or_off("after", watchdog.after, kShortestWatch, kLongestWatch);
  });
}

void read_overload(TableReader& server, const Limits& limits, Overload& overload) {
  server.in_table("overload", [&](TableReader& table) {
    table.get("max_streams", overload.max_streams, 0, kMostStreams);
    table.get_size("max_held_bytes", overload.max_held_bytes, 0, std::numeric_limits<int64_t>::max());
    table.get("max_waiting", overload.max_waiting, 0, kMostWaiting);
    table.get("policy", overload.policy);
    table.get("deny_status", overload.deny_status, 200, 599);
    must_be_below(table, "max_streams", overload.max_streams, "server.limits.max_streams",
                  limits.max_streams);
    must_be_below(table, "max_held_bytes", overload.max_held_bytes, "server.limits.max_total_held_bytes",
                  limits.max_total_held_bytes);
  });
}

void read_quarantine(TableReader& plugin, Quarantine& quarantine) {
  plugin.in_table("quarantine", [&](TableReader& table) {
    table.get("failures", quarantine.failures, 0, kMostFailures);
    table.get_duration("window", quarantine.window, kShortestWindow, kLongestWindow);
    table.get_duration("duration", quarantine.duration, kShortestWindow, kLongestDuration);
    std::string policy(to_string(quarantine.policy));
    table.get("policy", policy, kQuarantinePolicies);
    quarantine.policy = policy == kQuarantinePolicies[1] ? FailurePolicy::kSkip : FailurePolicy::kDeny;
  });
}

}  // namespace extprocd::config
