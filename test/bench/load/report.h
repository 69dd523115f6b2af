#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "test/bench/load/latencies.h"

namespace extprocd::bench {

struct Options;

/// What a run has found.
struct Report {
  struct Series {
    std::string name;
    Latencies latencies;
  };
  struct Memory {
    uint64_t before = 0;  ///< resident bytes of the server
    uint64_t held = 0;
    uint64_t after = 0;
    uint64_t streams = 0;  ///< that were held
    uint64_t message = 0;  ///< bytes of the message that began each of them
  };

  std::chrono::nanoseconds window{};            ///< that was measured
  uint64_t streams = 0;                         ///< that ended well in it
  uint64_t all_streams = 0;                     ///< that ended, those of the warm-up included
  uint64_t refused = 0;                         ///< that ended in it as --refusal has it
  Latencies refusals;                           ///< of those, until they ended
  uint64_t echoed_bytes = 0;                    ///< of bodies that came back in it
  std::vector<Series> series;                   ///< of streams that should have begun in the window
  std::chrono::nanoseconds latest_start{};      ///< how late a stream began at worst, with a rate
  std::chrono::nanoseconds server_cpu{};        ///< in the window
  std::chrono::nanoseconds own_cpu{};           ///< in the window
  std::size_t connections = 0;                  ///< that there were
  std::optional<Memory> memory = {};            ///< with the profile idle
  std::map<std::string, uint64_t> faults = {};  ///< what went wrong, how often
};

void print_table(const Options& options, Report& report);
std::string to_json(const Options& options, Report& report);

}  // namespace extprocd::bench
