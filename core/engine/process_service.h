#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/engine/generation.h"
#include "core/engine/seam.h"
#include "core/telemetry/registry.h"

namespace extprocd::engine {

/// The Process method: opens streams on a generation. Thread-safe; destroyed when no thread uses it any more, but its
/// streams may outlive it.
class ProcessService final : public StreamFactory {
 public:
  explicit ProcessService(const std::shared_ptr<const Generation>& generation);

  std::unique_ptr<ServerStream> open(Sink& sink, const StreamFacts& facts) override;

 private:
  /// What a thread needs to open streams. Each thread has one of its own, so that no two write to one place for every
  /// stream; threads that come after the last one share it.
  struct alignas(telemetry::kCacheLine) Opener {
    std::shared_ptr<const Generation> generation;  // counts the streams of this opener alone
    std::atomic<uint64_t> streams{0};
  };
  static constexpr std::size_t kOpeners = 64;

  std::array<Opener, kOpeners> openers_;
};

}  // namespace extprocd::engine
