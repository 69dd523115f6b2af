#include "test/model/patient_reference.h"

#include <algorithm>

namespace extprocd::model {

PatientReference::PatientReference(const std::vector<PluginPlan>& plans, ServerSetup setup)
    : setup_(setup), may_wait_(std::ranges::any_of(plans, [](const PluginPlan& plan) {
        return std::ranges::any_of(plan.phase, [](const PhasePlan& what) { return !what.pauses.empty(); });
      })) {
  now_.emplace(plans, setup);
}

Owed PatientReference::receive(const std::string& bytes, Time now) {
  message_ = bytes;
  came_ = now;
  ends_.clear();
  asked_at_.reset();
  if (may_wait_) before_.emplace(*now_);
  return handle_message();
}

Owed PatientReference::handle_message() {
  owed_ = now_->receive(message_, came_, ends_, asked_at_);
  timer_spent_ = false;
  for (const auto& [suspension, token] : now_->resumed_at_once()) {
    if (resumed_.insert(suspension).second) posted_.emplace_back(suspension, token);
  }
  if (waits()) saw("waited in " + phase_name(now_->waiting()->phase));
  return owed();
}

Owed PatientReference::owed() const {
  Owed all = owed_;
  if (asked_at_) all.more_time.push_back(asked_for_);
  return all;
}

Owed PatientReference::go_on(const WaitEnd& end) {
  ends_.push_back(end);
  now_.emplace(*before_);
  return handle_message();
}

bool PatientReference::is_waiting(std::size_t suspension) const {
  return waits() && now_->waiting()->suspension == suspension && !resumed_.contains(suspension);
}

std::uint32_t PatientReference::resume(std::size_t suspension, std::uint64_t token) {
  if (!is_waiting(suspension)) {
    saw(resumed_.contains(suspension) ? "resumed twice" : "resumed too late");
    ++ignored_;
    return EXTPROC_NOT_FOUND;
  }
  resumed_.insert(suspension);
  posted_.emplace_back(suspension, token);
  return EXTPROC_OK;
}

Owed PatientReference::run_posted(Time now) {
  const auto [suspension, token] = posted_.front();
  posted_.pop_front();
  if (!waits() || now_->waiting()->suspension != suspension) {
    saw("resume overtaken by the end of the wait");
    return owed();
  }
  saw("resumed");
  return go_on({WaitEnd::Kind::kResumed, token, now});
}

Owed PatientReference::timer_fired(Time now) {
  if (!waits()) return owed();
  if (const auto at = time_to_ask(); at && now >= *at) {
    // What is left until the deadline, and a tenth of the usual time for the way; at least something.
    const auto until = static_cast<std::int64_t>(came_ + setup_.deadline + setup_.message_timeout / 10);
    const std::int64_t wanted = until - static_cast<std::int64_t>(now);
    asked_for_ = static_cast<Time>(
        std::clamp<std::int64_t>(wanted, 1, static_cast<std::int64_t>(setup_.max_message_timeout)));
    asked_at_ = now;
    saw("more time asked for");
  }
  const Wait wait = *now_->waiting();
  const auto last_of_chain = deadline();
  std::optional<Time> last = wait.until;
  if (last_of_chain && (!last || *last_of_chain < *last)) last = last_of_chain;
  const bool resumes = wait.resume && !timer_spent_ && *wait.resume <= now;
  if (resumes && (!last || *wait.resume <= *last)) {
    timer_spent_ = true;
    if (!resumed_.insert(wait.suspension).second) {
      saw("timer of a wait that is resumed already");
      return owed();
    }
    saw("resumed by its timer");
    return go_on({WaitEnd::Kind::kResumed, wait.token, now});
  }
  if (!last || *last > now) return owed();
  const bool own = wait.until == last;
  saw(own ? "timeout of the plugin" : "deadline of the chain");
  return go_on({own ? WaitEnd::Kind::kTimeout : WaitEnd::Kind::kDeadline, 0, now});
}

std::optional<Time> PatientReference::timer() const {
  if (!waits()) return std::nullopt;
  const Wait& wait = *now_->waiting();
  std::optional<Time> first;
  for (const auto& time :
       {wait.until, timer_spent_ ? std::nullopt : wait.resume, deadline(), time_to_ask()}) {
    if (time && (!first || *time < *first)) first = time;
  }
  return first;
}

std::optional<Time> PatientReference::deadline() const {
  if (setup_.deadline == 0) return std::nullopt;
  return came_ + setup_.deadline;
}

std::optional<Time> PatientReference::time_to_ask() const {
  const bool may_ask = setup_.message_timeout != 0 && now_->can_ask_for_time() && !asked_at_;
  if (!may_ask || setup_.deadline <= setup_.message_timeout) return std::nullopt;
  return came_ + setup_.message_timeout / 2;
}

Owed PatientReference::half_close() { return now_->half_close(); }

void PatientReference::cancel(bool shutdown) {
  if (waits()) saw("cancelled while it waited");
  now_->cancel(shutdown);
}

}  // namespace extprocd::model
