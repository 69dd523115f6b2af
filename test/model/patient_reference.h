#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "test/model/server_reference.h"

namespace extprocd::model {

/// Foretells what a server does whose plugins wait. It keeps no half-done work: each time that a wait is over, the message
/// is gone through again from its beginning, by the reference as it was before, with all that has come of its waits.
class PatientReference {
 public:
  /// `plans` outlive the reference.
  PatientReference(const std::vector<PluginPlan>& plans, ServerSetup setup);

  /// What the server owes for the message that came last, all that it has sent of it included.
  Owed receive(const std::string& bytes, Time now);
  /// Somebody resumes a suspension, counted from 0 for the stream. What the host answers.
  std::uint32_t resume(std::size_t suspension, std::uint64_t token);
  /// The stream's thread does the first thing that was posted to it.
  Owed run_posted(Time now);
  Owed timer_fired(Time now);
  Owed half_close();
  void cancel(bool shutdown);

  [[nodiscard]] bool waits() const { return now_->waiting().has_value(); }
  /// When the server wants to be woken.
  [[nodiscard]] std::optional<Time> timer() const;
  [[nodiscard]] std::size_t posted() const { return posted_.size(); }
  [[nodiscard]] bool is_waiting(std::size_t suspension) const;
  /// Resumes that came to nothing.
  [[nodiscard]] std::uint64_t ignored() const { return ignored_; }
  [[nodiscard]] const ServerReference& server() const { return *now_; }
  /// What happened that a test wants to have met, of the waits alone.
  [[nodiscard]] const std::vector<std::string>& events() const { return events_; }

 private:
  Owed go_on(const WaitEnd& end);
  Owed handle_message();
  [[nodiscard]] Owed owed() const;
  [[nodiscard]] std::optional<Time> deadline() const;
  [[nodiscard]] std::optional<Time> time_to_ask() const;
  void saw(const std::string& what) { events_.push_back(what); }

  const ServerSetup setup_;
  const bool may_wait_;
  std::optional<ServerReference> now_;
  std::optional<ServerReference> before_;  // the message at hand
  std::string message_;
  Time came_ = 0;
  std::vector<WaitEnd> ends_;
  Owed owed_;
  std::optional<Time> asked_at_;  // for more time, for this message, on nobody's behalf
  Time asked_for_ = 0;
  bool timer_spent_ = false;  // the plugin's own, of the wait at hand

  std::set<std::size_t> resumed_;
  std::deque<std::pair<std::size_t, std::uint64_t>> posted_;
  std::uint64_t ignored_ = 0;
  std::vector<std::string> events_;
};

}  // namespace extprocd::model
