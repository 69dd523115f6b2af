#include "test/bench/load/latencies.h"

#include <algorithm>
#include <cmath>

namespace extprocd::bench {

Latencies::Duration Latencies::quantile(double share) {
  if (all_.empty()) return {};
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(all_.size())));
  const auto nth =
      all_.begin() + static_cast<std::ptrdiff_t>(std::clamp<std::size_t>(rank, 1, all_.size()) - 1);
  std::nth_element(all_.begin(), nth, all_.end());
  return *nth;
}

}  // namespace extprocd::bench
