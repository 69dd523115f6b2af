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
  enum class Event : uint8_t { kServing, kNotServing, kEnd };
  using Listener = std::function<void(Event)>;

  [[nodiscard]] bool serving() const;
  /// Tells all watchers, on their own threads.
  void set_serving(bool serving);
  /// Ends all watches, open ones and those to come: a server that goes away is not to be held up by them.
  void end_watches();

  /// Calls `listener` through `executor` at every change and at the end of watches, until unwatch(). Gives
  /// the state now and a number.
  struct Watch {
    bool serving;
    bool ended;  ///< end_watches() was called: no event will come
    uint64_t id;
  };
  Watch watch(std::shared_ptr<engine::Executor> executor, Listener listener);
  void unwatch(uint64_t id);

 private:
  struct Watcher {
    std::shared_ptr<engine::Executor> executor;
    Listener listener;
  };
  void tell(Event event);  // with the lock held

  mutable std::mutex mutex_;
  bool serving_ = false;
  bool ended_ = false;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Watcher> watchers_;
};

/// Adds grpc.health.v1.Health: Check, Watch and List. Any service name has the state of the whole server, as
/// clients of the sample server expect. `state` outlives the services.
void add_health_service(Services& services, HealthState& state);

}  // namespace extprocd::transport
