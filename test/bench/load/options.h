#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "test/bench/load/connections.h"
#include "test/bench/load/script.h"

namespace extprocd::bench {

/// The command line.
struct Options {
  std::string address;
  std::string profile_name = "headers";
  ScriptOptions script;
  bool is_idle = false;  ///< open streams and hold them
  bool expect_mutation = false;
  bool reset = false;
  Metadata metadata;
  std::size_t connections = 2;
  bool more_connections = false;
  std::size_t streams = 16;  ///< at a time
  double rate = 0;           ///< streams a second; 0: a new one for each that ends
  std::chrono::nanoseconds warm_up = std::chrono::seconds(1);
  std::chrono::nanoseconds duration = std::chrono::seconds(10);
  std::chrono::nanoseconds timeout = std::chrono::seconds(10);
  uint64_t count = 0;                 ///< end after so many streams; 0: when the duration is over
  std::vector<std::string> refusals;  ///< how the text of a fault begins that is a server's right
  std::vector<pid_t> pids;
  std::string json_file;
};

/// Reads it. On a mistake, or a call for help, says so and ends the process.
Options read_options(int argc, char** argv);

}  // namespace extprocd::bench
