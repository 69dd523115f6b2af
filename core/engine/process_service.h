#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/engine/generation.h"
#include "core/engine/seam.h"

namespace extprocd::engine {

/// The Process method: opens a stream on the generation that is published at that moment. Thread-safe.
class ProcessService final : public StreamFactory {
 public:
  explicit ProcessService(std::shared_ptr<const Generation> generation)
      : generation_(std::move(generation)) {}

  std::unique_ptr<ServerStream> open(Sink& sink, const StreamFacts& facts) override;

 private:
  std::atomic<std::shared_ptr<const Generation>> generation_;
  std::atomic<uint64_t> next_id_{1};
};

}  // namespace extprocd::engine
