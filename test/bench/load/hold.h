#pragma once

#include <cstddef>
#include <unordered_set>

#include "test/bench/load/connections.h"
#include "test/bench/load/exchange.h"
#include "test/bench/load/options.h"
#include "test/bench/load/process.h"
#include "test/bench/load/report.h"

namespace extprocd::bench {

/// Opens streams, holds them after their first answer, and lets them go: what an open stream costs in memory.
class Hold : public ExchangeWatcher {
 public:
  /// `conduct` has `hold` set.
  Hold(const Options& options, const Conduct& conduct, Connections& connections,
       const ServerProcesses& server);

  Report run();

 private:
  void on_step(Exchange& exchange, std::size_t step, Clock::duration latency) override;
  void on_end(Exchange& exchange, std::string_view fault) override;

  void stay(Clock::duration time);

  const Options& options_;
  const Conduct& conduct_;
  Connections& connections_;
  const ServerProcesses& server_;
  std::unordered_set<Exchange*> held_;
  std::size_t open_ = 0;
  Report report_;
};

}  // namespace extprocd::bench
