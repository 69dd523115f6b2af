#include "test/bench/load/process.h"

#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

#include <unistd.h>

namespace extprocd::bench {
namespace {

std::chrono::nanoseconds read_clock(clockid_t clock) {
  timespec now{};
  if (clock_gettime(clock, &now) != 0) return {};
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

absl::StatusOr<ServerProcesses> ServerProcesses::watch(const std::vector<pid_t>& pids) {
  ServerProcesses result;
  for (const pid_t pid : pids) {
    clockid_t clock{};
    const int error = clock_getcpuclockid(pid, &clock);
    if (error != 0) {
      return absl::NotFoundError("--pid " + std::to_string(pid) + ": " + std::strerror(error));
    }
    result.pids_.push_back(pid);
    result.clocks_.push_back(clock);
  }
  return result;
}

std::chrono::nanoseconds ServerProcesses::cpu_time() const {
  std::chrono::nanoseconds sum{};
  for (const clockid_t clock : clocks_) sum += read_clock(clock);
  return sum;
}

uint64_t ServerProcesses::resident() const {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t sum = 0;
  for (const pid_t pid : pids_) {
    std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
    uint64_t size = 0;
    uint64_t resident = 0;
    if (statm >> size >> resident) sum += resident * page;
  }
  return sum;
}

std::chrono::nanoseconds own_cpu_time() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace extprocd::bench
