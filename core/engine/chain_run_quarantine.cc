// Plugins that are put aside for failing too often: what a stream makes of that, and what it tells of them.

#include <string>

#include "core/engine/chain_run.h"

namespace extprocd::engine {

using config::FailurePolicy;

/// May the plugin be called on this stream? Asked when its first callback is due.
bool ChainRun::ask_quarantine(std::size_t position) {
  LinkState& state = states_[position];
  Quarantine& quarantine = chain_.links()[position].host->quarantine();
  if (quarantine.suspects()) {
    const auto trial = quarantine.admit(now());
    if (!trial) return false;
    state.trial = *trial;
  }
  state.admitted = true;
  return true;
}

/// What becomes of a phase whose plugin may not be called.
std::optional<PhaseResult> ChainRun::set_aside(std::size_t position) {
  const ChainLink& link = chain_.links()[position];
  states_[position].done = true;
  const Quarantine& quarantine = link.host->quarantine();
  const FailurePolicy wanted = quarantine.rule().policy;
  const bool impossible = wanted == FailurePolicy::kDeny && !exchange_.reply_possible;
  const FailurePolicy policy = impossible ? FailurePolicy::kFail : wanted;
  quarantine.count_refused(policy);
  if (policy == FailurePolicy::kSkip) return std::nullopt;
  if (policy == FailurePolicy::kDeny) return deny(position, link.deny_status, "quarantined");
  PhaseResult result;
  result.kind = PhaseResult::Kind::kFail;
  result.failure = absl::UnavailableError("plugin '" + link.host->name() + "' is in quarantine");
  return result;
}

void ChainRun::count_failure(std::size_t position) {
  chain_.links()[position].host->quarantine().failed(now(), states_[position].trial);
}

void ChainRun::end_trial(std::size_t position) {
  const Quarantine::Trial trial = states_[position].trial;
  if (trial != 0) chain_.links()[position].host->quarantine().trial_over(now(), trial);
}

}  // namespace extprocd::engine
