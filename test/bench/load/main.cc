// The load program: drives any ext_proc server in lock-step as Envoy does. Exit code 0: every reply was right;
// 1: something was wrong, and the error output says what; 2: a mistake on the command line.

#include <cstdio>
#include <fstream>
#include <string>

#include <sys/prctl.h>

#include "test/bench/load/connections.h"
#include "test/bench/load/hold.h"
#include "test/bench/load/options.h"
#include "test/bench/load/process.h"
#include "test/bench/load/report.h"
#include "test/bench/load/traffic.h"

namespace extprocd::bench {
namespace {

constexpr uint64_t kStreamsBeforeHold = 200;

int fail(const std::string& why) {
  std::fprintf(stderr, "load: %s\n", why.c_str());
  return 1;
}

/// Before memory is looked at, the server has made what it makes once.
Report warm_up(Options options, Conduct conduct, Connections& connections, const ServerProcesses& server) {
  options.count = kStreamsBeforeHold;
  options.rate = 0;
  options.duration = options.timeout;
  options.warm_up = {};
  conduct.hold = false;
  return Traffic(options, conduct, connections, server).run();
}

Report measure(const Options& options, Connections& connections, const ServerProcesses& server) {
  const Conduct conduct{.script = Script(options.script),
                        .expect_mutation = options.expect_mutation,
                        .reset = options.reset,
                        .hold = options.is_idle};
  if (!options.is_idle) return Traffic(options, conduct, connections, server).run();
  Report report = warm_up(options, conduct, connections, server);
  return report.faults.empty() ? Hold(options, conduct, connections, server).run() : report;
}

bool write_file(const std::string& name, const std::string& text) {
  std::ofstream file(name);
  return static_cast<bool>(file << text << std::flush);
}

int run(const Options& options) {
  // Else the kernel may let timers be 50 µs late.
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  const absl::StatusOr<ServerProcesses> server = ServerProcesses::watch(options.pids);
  if (!server.ok()) return fail(std::string(server.status().message()));
  const auto connections = Connections::open({.address = options.address,
                                              .count = options.connections,
                                              .streams = options.streams,
                                              .more_allowed = options.more_connections,
                                              .metadata = options.metadata,
                                              .timeout = options.timeout});
  if (!connections.ok()) return fail(std::string(connections.status().message()));

  Report report = measure(options, **connections, *server);
  report.connections = (*connections)->count();
  if (options.json_file == "-") {
    std::fputs(to_json(options, report).c_str(), stdout);
  } else {
    print_table(options, report);
    if (!options.json_file.empty() && !write_file(options.json_file, to_json(options, report))) {
      return fail("cannot write " + options.json_file);
    }
  }
  for (const auto& [fault, count] : report.faults) fail(std::to_string(count) + " x " + fault);
  if (!report.faults.empty()) return 1;
  return report.all_streams > 0 ? 0 : fail("no stream came to its end");
}

}  // namespace
}  // namespace extprocd::bench

int main(int argc, char** argv) { return extprocd::bench::run(extprocd::bench::read_options(argc, argv)); }
