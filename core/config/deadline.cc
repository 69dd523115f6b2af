#include "core/config/deadline.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace extprocd::config {
namespace {

constexpr double kShortest = 0.001;
constexpr double kLongest = 3600;
// What is left of the data plane's time for the way there and back.
constexpr double kShareOfTimeout = 0.9;
constexpr std::array<std::string_view, 6> kPhases = {"request_headers",  "request_body",
                                                     "request_trailers", "response_headers",
                                                     "response_body",    "response_trailers"};

/// How long the data plane waits at most, in seconds; 0: not stated.
double longest_wait(const DataPlane& data_plane) {
  if (data_plane.message_timeout == 0) return 0;
  return std::max(data_plane.message_timeout, data_plane.max_message_timeout);
}

std::string milliseconds(double seconds) {
  constexpr double kMillis = 1000;
  return std::to_string(static_cast<int64_t>(seconds * kMillis)) + "ms";
}

}  // namespace

void read_timeouts(TableReader& plugin, PhaseTimeouts& timeouts) {
  double all = 0;
  plugin.get_duration_or_off("timeout", all, kShortest, kLongest);
  timeouts.fill(all);
  plugin.in_table("timeouts", [&](TableReader& table) {
    for (std::size_t i = 0; i < kPhases.size(); ++i) {
      table.get_duration_or_off(kPhases[i], timeouts[i], kShortest, kLongest);
    }
  });
}

void read_deadline(TableReader& table, std::optional<double>& deadline) {
  double seconds = -1;
  table.get_duration_or_off("deadline", seconds, kShortest, kLongest);
  if (seconds >= 0) deadline = seconds;
}

double default_deadline(const DataPlane& data_plane) {
  const double wait = longest_wait(data_plane);
  return wait == 0 ? Chain().deadline : kShareOfTimeout * wait;
}

std::string deadline_fault(double deadline, const DataPlane& data_plane) {
  const double wait = longest_wait(data_plane);
  if (wait == 0 || (deadline != 0 && deadline < wait)) return {};
  return "must be less than " + milliseconds(wait) +
         ", after which the data plane gives up (data_plane.message_timeout, or max_message_timeout where it "
         "may be "
         "asked to wait longer)";
}

}  // namespace extprocd::config
