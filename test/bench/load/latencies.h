#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace extprocd::bench {

/// Durations, each kept as it was measured, so that quantiles are exact. Runs are bounded, so memory is.
class Latencies {
 public:
  using Duration = std::chrono::nanoseconds;

  void add(Duration latency) { all_.push_back(latency); }
  [[nodiscard]] std::size_t count() const { return all_.size(); }
  /// The smallest value that at least this share (0 to 1) of all values does not exceed; 0 if there are none.
  /// Reorders what it keeps.
  [[nodiscard]] Duration quantile(double share);

 private:
  std::vector<Duration> all_;
};

}  // namespace extprocd::bench
