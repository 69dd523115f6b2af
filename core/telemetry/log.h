#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace extprocd::telemetry {

enum class Level : uint8_t { kTrace, kDebug, kInfo, kWarn, kError };

/// Sets the log up: lines on standard error. `level`: trace, debug, info, warn, error, off. `format`: text,
/// json, or auto (text on a terminal, JSON otherwise). Once, at start, before other threads log.
void init_log(const std::string& level, const std::string& format);

/// Is a line of this level written? Ask before building an expensive one. Any thread.
bool enabled(Level level);

/// Writes one line. `logger` says where it comes from: "server", "plugin.<name>". Control characters and
/// bytes that are not UTF-8 are escaped. Any thread.
void log(Level level, std::string_view logger, std::string_view message);

/// A line as it would be written, without its end; for tests.
std::string format_line(bool json, std::chrono::system_clock::time_point time, Level level,
                        std::string_view logger, std::string_view message);

/// Lets at most a number of lines a second through, so that a fault that repeats does not fill the log. Any
/// thread.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RateLimit(double per_second)
      : interval_(
            std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / per_second))) {}

  /// May a line be written now? Counts those that may not.
  bool allow(Clock::time_point now = Clock::now());
  /// How many lines were held back since the last call.
  uint64_t take_suppressed() { return suppressed_.exchange(0); }

 private:
  const Clock::duration interval_;
  std::atomic<Clock::rep> next_{0};
  std::atomic<uint64_t> suppressed_{0};
};

}  // namespace extprocd::telemetry
