#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config.h"
#include "core/telemetry/registry.h"

namespace extprocd::engine {

/// Puts one plugin aside that failed too often, for a time, and then lets one stream try it again. Shared by the threads
/// that call the plugin.
///
/// A stream asks when the plugin's first callback on it is due; what it has begun goes on, whatever comes meanwhile. The
/// stream that tries the plugin decides at its end: good, if a callback returned well and none failed. If that takes
/// longer than the quarantine did, what it showed so far decides.
class Quarantine {
 public:
  using Clock = std::chrono::steady_clock;
  /// The number of a stream that tries the plugin; zero: none.
  using Trial = uint16_t;

  /// `plugin` is the configured name. `registry` outlives this; it gets metrics only if the rule is ever to apply.
  Quarantine(const config::Quarantine& rule, std::string_view plugin, telemetry::Registry& registry);
  Quarantine(const Quarantine&) = delete;
  Quarantine& operator=(const Quarantine&) = delete;
  ~Quarantine();

  /// If false, a stream may begin with the plugin; else it must ask admit(). One relaxed load.
  [[nodiscard]] bool suspects() const { return state_.load(std::memory_order_relaxed) != State::kActive; }
  /// May a stream begin with the plugin? Nothing: no. Zero: yes. Else it is the one that tries the plugin, and gives
  /// this number to the functions below.
  [[nodiscard]] std::optional<Trial> admit(Clock::time_point now);
  /// The plugin failed. `trial`: zero, or the stream's number.
  void failed(Clock::time_point now, Trial trial);
  /// A callback of the stream with this number returned well.
  void returned_well(Trial trial);
  /// The stream with this number is over.
  void trial_over(Clock::time_point now, Trial trial);

  /// When it applies, for how long, and what becomes of a stream that is refused.
  [[nodiscard]] const config::Quarantine& rule() const { return rule_; }
  /// Counts a refused stream, by the policy that was applied.
  void count_refused(config::FailurePolicy applied) const;

 private:
  enum class State : uint8_t { kActive, kQuarantined, kTrial };

  void add_failure(Clock::time_point now);
  void put_aside(Clock::time_point now, const std::string& why);
  void take_back();
  Trial begin_trial(Clock::time_point now);
  void enter(State state);

  const config::Quarantine rule_;
  const Clock::duration window_;
  const Clock::duration duration_;
  const std::string log_name_;
  // Null where no quarantine is configured.
  std::array<telemetry::Gauge*, 3> states_{};     // by State: how many instances are in it
  std::array<telemetry::Counter*, 3> refused_{};  // by config::FailurePolicy
  telemetry::Counter* quarantines_ = nullptr;

  std::atomic<State> state_{State::kActive};
  std::mutex mutex_;  // of all below, and for who changes the state
  std::vector<Clock::time_point> failures_;
  std::size_t oldest_ = 0;   // of `failures_`, once there are as many as the rule says
  Clock::time_point until_;  // of the quarantine, or of the trial's time
  Trial trial_ = 0;          // the number of the last one
  bool trial_goes_well_ = false;
};

}  // namespace extprocd::engine
