#pragma once

#include <cstdint>

namespace extprocd::bench {

/// What operator new and delete have done on the calling thread, plugins included.
struct Allocations {
  uint64_t count = 0;
  int64_t live_bytes = 0;  ///< as malloc rounds them up
};

Allocations allocations();

}  // namespace extprocd::bench
