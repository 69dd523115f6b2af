#pragma once

#include <cstddef>
#include <cstdint>

#include "test/bench/load/connections.h"
#include "test/bench/load/exchange.h"
#include "test/bench/load/options.h"
#include "test/bench/load/process.h"
#include "test/bench/load/report.h"

namespace extprocd::bench {

/// Exchanges one after the other: as many at a time as there may be, or begun by the clock at a given rate.
class Traffic : public ExchangeWatcher {
 public:
  Traffic(const Options& options, const Conduct& conduct, Connections& connections,
          const ServerProcesses& server);

  /// Runs until the time is over or all streams are begun, and what is open has ended.
  Report run();

 private:
  void on_step(Exchange& exchange, std::size_t step, Clock::duration latency) override;
  void on_echo(std::size_t bytes) override;
  void on_end(Exchange& exchange, std::string_view fault) override;

  void begin_due(Clock::time_point now);
  void begin(Clock::time_point intended);
  void open_window(Clock::time_point now);
  void close_window();
  void finish();
  [[nodiscard]] bool is_over(Clock::time_point now) const;
  /// Nothing has come for too long.
  [[nodiscard]] bool is_stuck(Clock::time_point now) const;
  [[nodiscard]] bool may_begin() const;
  [[nodiscard]] Clock::time_point next_event() const;
  [[nodiscard]] bool is_refusal(std::string_view fault) const;
  [[nodiscard]] bool is_measured(Clock::time_point begun) const;

  const Options& options_;
  const Conduct& conduct_;
  Connections& connections_;
  const ServerProcesses& server_;

  Clock::time_point window_begin_;
  Clock::time_point window_end_;
  Clock::time_point next_due_;  // with a rate
  Clock::time_point last_progress_;
  bool window_is_open_ = false;
  std::size_t in_flight_ = 0;
  uint64_t begun_ = 0;
  uint64_t fault_count_ = 0;
  Report report_;
};

}  // namespace extprocd::bench
