#include "core/engine/quarantine.h"

#include "core/engine/chain.h"
#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

using telemetry::Level;

constexpr std::array<const char*, 3> kStates = {"active", "quarantined", "trial"};

/// "30 s", "0.5 s"
std::string seconds_text(double seconds) {
  std::string text = std::to_string(seconds);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

}  // namespace

Quarantine::Quarantine(const config::Quarantine& rule, std::string_view plugin, telemetry::Registry& registry)
    : rule_(rule),
      window_(to_duration(rule.window)),
      duration_(to_duration(rule.duration)),
      log_name_("plugin." + std::string(plugin)) {
  if (rule.failures == 0) return;
  const std::string name(plugin);
  for (std::size_t i = 0; i < states_.size(); ++i) {
    states_[i] = &registry.gauge("extproc_plugin_state",
                                 "How many instances of a plugin are in each state; most have one.",
                                 {{"plugin", name}, {"state", kStates[i]}});
  }
  for (const auto policy :
       {config::FailurePolicy::kFail, config::FailurePolicy::kDeny, config::FailurePolicy::kSkip}) {
    refused_[static_cast<std::size_t>(policy)] = &registry.counter(
        "extproc_plugin_quarantined_streams_total",
        "Streams that would have called a plugin in quarantine, by the policy that was applied.",
        {{"plugin", name}, {"policy", std::string(to_string(policy))}});
  }
  quarantines_ = &registry.counter("extproc_plugin_quarantines_total", "Times that a plugin was put aside.",
                                   {{"plugin", name}});
  states_[static_cast<std::size_t>(State::kActive)]->add(1);
}

Quarantine::~Quarantine() {
  if (rule_.failures != 0) states_[static_cast<std::size_t>(state_.load())]->add(-1);
}

std::optional<Quarantine::Trial> Quarantine::admit(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const State state = state_.load(std::memory_order_relaxed);
  if (state == State::kActive) return 0;
  if (now < until_) return std::nullopt;
  if (state == State::kTrial && trial_goes_well_) {
    take_back();
    return 0;
  }
  return begin_trial(now);
}

void Quarantine::failed(Clock::time_point now, Trial trial) {
  if (rule_.failures == 0) return;
  const std::lock_guard lock(mutex_);
  const State state = state_.load(std::memory_order_relaxed);
  if (state == State::kActive) add_failure(now);
  if (state == State::kTrial && trial == trial_) put_aside(now, "it failed when it was tried again");
}

void Quarantine::returned_well(Trial trial) {
  const std::lock_guard lock(mutex_);
  if (trial == trial_) trial_goes_well_ = true;
}

void Quarantine::trial_over(Clock::time_point now, Trial trial) {
  const std::lock_guard lock(mutex_);
  if (state_.load(std::memory_order_relaxed) != State::kTrial || trial != trial_) return;
  if (trial_goes_well_) {
    take_back();
    return;
  }
  // The data plane gave the stream up before it showed anything: the next one tries.
  until_ = now;
  enter(State::kQuarantined);
}

void Quarantine::count_refused(config::FailurePolicy applied) const {
  refused_[static_cast<std::size_t>(applied)]->add();
}

void Quarantine::add_failure(Clock::time_point now) {
  if (failures_.size() < rule_.failures) {
    failures_.push_back(now);
  } else {
    failures_[oldest_] = now;
    oldest_ = (oldest_ + 1) % failures_.size();
  }
  if (failures_.size() < rule_.failures || now - failures_[oldest_] > window_) return;
  put_aside(now, std::to_string(rule_.failures) + " failures within " + seconds_text(rule_.window));
}

void Quarantine::put_aside(Clock::time_point now, const std::string& why) {
  until_ = now + duration_;
  enter(State::kQuarantined);
  quarantines_->add();
  telemetry::log(Level::kWarn, log_name_,
                 "in quarantine for " + seconds_text(rule_.duration) + ", policy " +
                     std::string(to_string(rule_.policy)) + ": " + why);
}

void Quarantine::take_back() {
  failures_.clear();
  oldest_ = 0;
  enter(State::kActive);
  telemetry::log(Level::kInfo, log_name_, "out of quarantine: the stream that tried it went well");
}

Quarantine::Trial Quarantine::begin_trial(Clock::time_point now) {
  until_ = now + duration_;
  trial_goes_well_ = false;
  if (++trial_ == 0) ++trial_;  // zero means none
  enter(State::kTrial);
  telemetry::log(Level::kInfo, log_name_, "in quarantine until now: one stream tries it again");
  return trial_;
}

void Quarantine::enter(State state) {
  const State before = state_.exchange(state, std::memory_order_relaxed);
  states_[static_cast<std::size_t>(before)]->add(-1);
  states_[static_cast<std::size_t>(state)]->add(1);
}

}  // namespace extprocd::engine
