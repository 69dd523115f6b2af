#include "core/engine/process_service.h"

#include "core/engine/stream.h"

namespace extprocd::engine {

std::unique_ptr<ServerStream> ProcessService::open(Sink& sink, const StreamFacts& facts) {
  return std::make_unique<Stream>(generation_.load(), sink, facts,
                                  next_id_.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace extprocd::engine
