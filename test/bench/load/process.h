#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include <sys/types.h>

namespace extprocd::bench {

/// The processes of a server, seen from outside. Sums over all of them; without any, all figures are 0.
class ServerProcesses {
 public:
  /// Fails if one of them is not there, or may not be looked at.
  static absl::StatusOr<ServerProcesses> watch(const std::vector<pid_t>& pids);

  [[nodiscard]] bool empty() const { return pids_.empty(); }
  /// CPU time of all threads, those that have ended included.
  [[nodiscard]] std::chrono::nanoseconds cpu_time() const;
  /// Resident bytes (VmRSS).
  [[nodiscard]] uint64_t resident() const;

 private:
  std::vector<pid_t> pids_;
  std::vector<clockid_t> clocks_;
};

/// CPU time of this process.
std::chrono::nanoseconds own_cpu_time();

}  // namespace extprocd::bench
