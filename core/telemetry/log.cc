#include "core/telemetry/log.h"

#include <cstdio>
#include <ctime>
#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "core/http/utf8.h"

namespace extprocd::telemetry {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kTrace:
      return spdlog::level::trace;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kInfo:
      break;
  }
  return spdlog::level::info;
}

Level from_spdlog(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return Level::kTrace;
    case spdlog::level::debug:
      return Level::kDebug;
    case spdlog::level::warn:
      return Level::kWarn;
    case spdlog::level::err:
    case spdlog::level::critical:
      return Level::kError;
    default:
      return Level::kInfo;
  }
}

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kTrace:
      return "trace";
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarn:
      return "warn";
    case Level::kError:
      return "error";
  }
  return "info";
}

/// JSON's escapes; in text lines they keep a message on its line.
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : http::repair_utf8(text)) {
    if (c == '\n') {
      out += "\\n";
    } else if (quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
}

/// RFC 3339 in UTC with microseconds.
std::string timestamp(std::chrono::system_clock::time_point time) {
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(since_epoch / 1000000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char date[32];
  const std::size_t size = std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%06dZ", static_cast<int>(since_epoch % 1000000));
  return std::string(date, size) + fraction;
}

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(bool json) : json_(json) {}
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string line = format_line(json_, std::chrono::system_clock::now(), from_spdlog(message.level),
                                         {message.logger_name.data(), message.logger_name.size()},
                                         {message.payload.data(), message.payload.size()}) +
                             "\n";
    out.append(line.data(), line.data() + line.size());
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(json_);
  }

 private:
  const bool json_;
};

std::shared_ptr<spdlog::sinks::sink>& sink() {
  static auto* const the_sink = [] {
    auto* made = new std::shared_ptr<spdlog::sinks::sink>(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    (*made)->set_formatter(std::make_unique<LineFormatter>(/*json=*/false));
    return made;
  }();
  return *the_sink;
}

std::atomic<int>& threshold() {
  static std::atomic<int> level{spdlog::level::info};
  return level;
}

}  // namespace

std::string format_line(bool json, std::chrono::system_clock::time_point time, Level level,
                        std::string_view logger, std::string_view message) {
  std::string line;
  if (json) {
    line = "{\"time\":\"" + timestamp(time) + "\",\"level\":\"" + std::string(name_of(level)) +
           "\",\"logger\":\"";
    append_escaped(line, logger, true);
    line += "\",\"message\":\"";
    append_escaped(line, message, true);
    line += "\"}";
    return line;
  }
  line = timestamp(time) + " " + std::string(name_of(level)) + " ";
  append_escaped(line, logger, false);
  line += ": ";
  append_escaped(line, message, false);
  return line;
}

void init_log(const std::string& level, const std::string& format) {
  const bool json = format == "json" || (format != "text" && isatty(STDERR_FILENO) == 0);
  sink()->set_formatter(std::make_unique<LineFormatter>(json));
  threshold() = spdlog::level::from_str(level);
}

bool enabled(Level level) { return to_spdlog(level) >= threshold().load(std::memory_order_relaxed); }

void log(Level level, std::string_view logger, std::string_view message) {
  if (!enabled(level)) return;
  const spdlog::details::log_msg entry({logger.data(), logger.size()}, to_spdlog(level),
                                       {message.data(), message.size()});
  sink()->log(entry);
  sink()->flush();
}

bool RateLimit::allow(Clock::time_point now) {
  Clock::rep next = next_.load(std::memory_order_relaxed);
  const Clock::rep current = now.time_since_epoch().count();
  while (current >= next) {
    if (next_.compare_exchange_weak(next, current + interval_.count(), std::memory_order_relaxed))
      return true;
  }
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

}  // namespace extprocd::telemetry
