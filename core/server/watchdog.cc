#include "core/server/watchdog.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>
#include <vector>

#include "core/server/thread_stack.h"
#include "core/telemetry/metrics.h"

namespace extprocd::server {
namespace {

using engine::RunningCallback;

constexpr int kLooksInTime = 4;
constexpr int kTimesAsLong = 20;

std::string milliseconds(Watchdog::Clock::duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) + " ms";
}

bool is_same(const RunningCallback& one, const RunningCallback& other) {
  return one.thread == other.thread && one.call == other.call;
}

bool runs(const RunningCallback& callback, const std::vector<RunningCallback>& running) {
  return std::ranges::any_of(running, [&](const RunningCallback& other) { return is_same(callback, other); });
}

/// What the thread of a callback does in it.
std::string stack_text(const RunningCallback& callback) {
  const auto stack =
      take_stack([&](int signal, int value) { return engine::signal_callback(callback, signal, value); });
  // If it has returned meanwhile, the stack may be another one's.
  if (!runs(callback, engine::running_callbacks())) return "; it returned meanwhile";
  return stack ? ": " + describe_stack(*stack) : "; the thread does not tell its stack";
}

}  // namespace

Watchdog::Watchdog(Clock::duration after, telemetry::Registry& registry, Say say)
    : after_(after),
      registry_(registry),
      say_(std::move(say)),
      has_stacks_(prepare_stacks()),
      blocked_(registry.gauge("extproc_blocked_threads",
                              "Threads that serve streams and that a plugin's callback keeps now.")) {}

void Watchdog::warn(std::string_view logger, const std::string& text) {
  telemetry::log(telemetry::Level::kWarn, logger, text);
}

void Watchdog::start() {
  if (!has_stacks_) {
    telemetry::log(telemetry::Level::kWarn, "server",
                   "the watchdog reports without stacks: signal " + std::to_string(stack_signal()) +
                       " has a handler already");
  }
  thread_ = std::jthread([this](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      stopped.wait_for(lock, stop, after_ / kLooksInTime, [] { return false; });
      look(Clock::now());
    }
  });
}

void Watchdog::look(Clock::time_point now) {
  const std::vector<RunningCallback> running = engine::running_callbacks();
  forget_returned(running, now);
  for (const RunningCallback& callback : running) {
    Watched& watched = watched_.try_emplace(callback.thread, Watched{callback, now, after_}).first->second;
    if (now - watched.since >= watched.next_report) report(watched, now);
  }
  const auto is_reported = [](const auto& entry) { return entry.second.reported; };
  blocked_.set(static_cast<double>(std::ranges::count_if(watched_, is_reported)));
}

void Watchdog::forget_returned(const std::vector<RunningCallback>& running, Clock::time_point now) {
  std::erase_if(watched_, [&](const auto& entry) {
    const Watched& watched = entry.second;
    if (runs(watched.callback, running)) return false;
    if (watched.reported) {
      say(limits_[watched.callback.plugin].returned, watched, now, [&] {
        return "returned from " + std::string(engine::callback_name(watched.callback.phase)) + " after " +
               milliseconds(now - watched.since);
      });
    }
    return true;
  });
}

void Watchdog::report(Watched& watched, Clock::time_point now) {
  const RunningCallback& callback = watched.callback;
  const auto name = engine::callback_name(callback.phase);
  if (!std::exchange(watched.reported, true)) {
    telemetry::watchdog_reports(registry_, callback.plugin, name).add();
  }
  watched.next_report *= kTimesAsLong;
  say(limits_[callback.plugin].blocked, watched, now, [&] {
    return "has kept thread " + std::to_string(callback.thread_id) + " in " + std::string(name) + " for " +
           milliseconds(now - watched.since) + (has_stacks_ ? stack_text(callback) : "");
  });
}

void Watchdog::say(telemetry::RateLimit& limit, const Watched& watched, Clock::time_point now,
                   const std::function<std::string()>& text) {
  if (!limit.allow(now)) return;
  std::string line = text();
  if (const uint64_t held_back = limit.take_suppressed(); held_back > 0) {
    line += " (" + std::to_string(held_back) + " earlier lines like this were not logged)";
  }
  say_("plugin." + watched.callback.plugin, line);
}

}  // namespace extprocd::server
