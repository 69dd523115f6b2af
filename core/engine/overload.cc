#include "core/engine/overload.h"

#include <cstdint>

#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

using telemetry::OverloadLimit;

uint64_t value_of(const config::Overload& overload, OverloadLimit limit) {
  switch (limit) {
    case OverloadLimit::kStreams:
      return overload.max_streams;
    case OverloadLimit::kHeldBytes:
      return overload.max_held_bytes;
    case OverloadLimit::kWaiting:
      break;
  }
  return overload.max_waiting;
}

}  // namespace

std::optional<OverloadLimit> exceeded_limit(const config::Overload& overload,
                                            const telemetry::Metrics& metrics) {
  // The stream that asks is among those that are open, but holds nothing and waits for nobody yet.
  if (overload.max_streams != 0 && metrics.streams_active.value() > int64_t{overload.max_streams})
    return OverloadLimit::kStreams;
  if (overload.max_held_bytes != 0 &&
      metrics.held_bytes.value() >= static_cast<double>(overload.max_held_bytes))
    return OverloadLimit::kHeldBytes;
  if (overload.max_waiting != 0 && metrics.waiting.value() >= int64_t{overload.max_waiting})
    return OverloadLimit::kWaiting;
  return std::nullopt;
}

std::string report_overload(const config::Overload& overload, OverloadLimit limit,
                            config::FailurePolicy applied, const telemetry::Metrics& metrics) {
  static telemetry::RateLimit log_limit(1);
  metrics.overload_streams[static_cast<std::size_t>(limit)][static_cast<std::size_t>(applied)]->add();
  std::string text = "the server is overloaded: server.overload.max_" + std::string(to_string(limit)) + ", " +
                     std::to_string(value_of(overload, limit)) + ", is reached";
  if (log_limit.allow()) {
    const uint64_t held_back = log_limit.take_suppressed();
    telemetry::log(
        telemetry::Level::kWarn, "server",
        text + "; a new stream was not begun, policy " + std::string(to_string(applied)) +
            (held_back > 0 ? " (as were " + std::to_string(held_back) + " more since the last line)" : ""));
  }
  return text;
}

}  // namespace extprocd::engine
