#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/telemetry/metrics.h"

namespace extprocd::telemetry {
namespace {

/// The fields of /proc/self/stat behind the command's name, which may itself have spaces; the first is the
/// state.
std::vector<std::string> stat_fields() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

double stat_field(std::size_t index) {
  const auto fields = stat_fields();
  return index < fields.size() ? std::stod(fields[index]) : 0;
}

double ticks_per_second() { return static_cast<double>(sysconf(_SC_CLK_TCK)); }

double boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

double open_files() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  double count = -3;  // ".", ".." and the folder itself
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

double max_files() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

}  // namespace

void show_process_metrics(Registry& registry, std::string_view version) {
  // Places behind the command's name, see proc(5): utime 11, stime 12, num_threads 17, starttime 19, vsize
  // 20, rss 21.
  registry.function("process_cpu_seconds_total", "User and system CPU time spent.", {}, true,
                    [] { return (stat_field(11) + stat_field(12)) / ticks_per_second(); });
  registry.function("process_threads", "Threads of the process.", {}, false, [] { return stat_field(17); });
  registry.function("process_start_time_seconds", "Start of the process, in seconds since the epoch.", {},
                    false, [] { return boot_time() + stat_field(19) / ticks_per_second(); });
  registry.function("process_virtual_memory_bytes", "Virtual memory.", {}, false,
                    [] { return stat_field(20); });
  registry.function("process_resident_memory_bytes", "Resident memory.", {}, false,
                    [] { return stat_field(21) * static_cast<double>(sysconf(_SC_PAGESIZE)); });
  registry.function("process_open_fds", "Open file descriptors.", {}, false, &open_files);
  registry.function("process_max_fds", "Most file descriptors that may be open.", {}, false, &max_files);
  registry.function(
      "extproc_build_info", "The version that runs and the compiler it was built with; always 1.",
      {{"version", std::string(version)}, {"compiler", __VERSION__}}, false, [] { return 1.0; });
}

}  // namespace extprocd::telemetry
