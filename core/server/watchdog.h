#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "core/engine/callback_watch.h"
#include "core/telemetry/log.h"
#include "core/telemetry/registry.h"

namespace extprocd::server {

/// Reports callbacks that keep a thread that serves streams: after some time, then each time that they have taken
/// twenty times as long, and when they return at last. It looks now and then, and counts from when it first saw a callback, so
/// that it takes nothing from the threads that it watches.
class Watchdog {
 public:
  using Clock = std::chrono::steady_clock;
  /// Takes a line for the log; `logger` is the plugin's.
  using Say = std::function<void(std::string_view logger, const std::string& text)>;

  /// `registry` outlives it.
  Watchdog(Clock::duration after, telemetry::Registry& registry, Say say = &Watchdog::warn);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Looks now and then, on a thread of its own, until it is destroyed. Once.
  void start();
  /// Looks once; where start() was not called. Times rise from call to call.
  void look(Clock::time_point now);

 private:
  struct Watched {
    engine::RunningCallback callback;
    Clock::time_point since;
    Clock::duration next_report;  // after that
    bool reported = false;
  };
  struct LogLimits {
    telemetry::RateLimit blocked{1};
    telemetry::RateLimit returned{1};
  };

  static void warn(std::string_view logger, const std::string& text);
  void forget_returned(const std::vector<engine::RunningCallback>& running, Clock::time_point now);
  void report(Watched& watched, Clock::time_point now);
  void say(telemetry::RateLimit& limit, const Watched& watched, Clock::time_point now,
           const std::function<std::string()>& text);

  const Clock::duration after_;
  telemetry::Registry& registry_;
  const Say say_;
  const bool has_stacks_;
  telemetry::Gauge& blocked_;
  std::map<uint64_t, Watched> watched_;      // by thread
  std::map<std::string, LogLimits> limits_;  // by plugin
  std::jthread thread_;
};

}  // namespace extprocd::server
