#pragma once

#include <cstdint>

namespace extprocd::wire {

/// Requests and responses are two independent flows of messages in one stream. The numbers serve as an index.
enum class Direction : uint8_t { kRequest = 0, kResponse = 1 };

}  // namespace extprocd::wire
