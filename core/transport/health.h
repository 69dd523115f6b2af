#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "core/engine/seam.h"
#include "core/transport/services.h"

namespace extprocd::transport {

/// Whether the server takes work, and who wants to know when that changes. Thread-safe.
class HealthState {
 public:
  using Listener = std::function<void(bool serving)>;

  [[nodiscard]] bool serving() const;
  /// Tells all watchers, on their own threads.
  void set_serving(bool serving);

  /// Calls `listener` through `executor` at every change until unwatch(); gives the state now and a number.
  struct Watch {
    bool serving;
    uint64_t id;
  };
  Watch watch(std::shared_ptr<engine::Executor> executor, Listener listener);
  void unwatch(uint64_t id);

 private:
  struct Watcher {
    std::shared_ptr<engine::Executor> executor;
    Listener listener;
  };
  mutable std::mutex mutex_;
  bool serving_ = false;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Watcher> watchers_;
};

/// Adds grpc.health.v1.Health: Check, Watch and List. Any service name has the state of the whole server, as
/// clients of the sample server expect. `state` outlives the services.
void add_health_service(Services& services, HealthState& state);

}  // namespace extprocd::transport
