#include "core/engine/process_service.h"

#include <algorithm>

#include "core/engine/stream.h"

namespace extprocd::engine {

ProcessService::ProcessService(const std::shared_ptr<const Generation>& generation) {
  for (Opener& opener : openers_) {
    // A count of its own, which keeps one reference to the generation.
    opener.generation =
        std::shared_ptr<const Generation>(generation.get(), [generation](const Generation*) {});
  }
}

std::unique_ptr<ServerStream> ProcessService::open(Sink& sink, const StreamFacts& facts) {
  const std::size_t place = std::min(telemetry::thread_slot(), kOpeners - 1);
  Opener& opener = openers_[place];
  const uint64_t before = opener.streams.fetch_add(1, std::memory_order_relaxed);
  return std::make_unique<Stream>(opener.generation, sink, facts, before * kOpeners + place + 1);
}

}  // namespace extprocd::engine
