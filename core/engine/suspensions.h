#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <extproc/abi.h>

#include "core/engine/seam.h"

namespace extprocd::engine {

/// Which streams wait for a plugin, each under a handle that is used once. A handle is a place in a table and a number
/// that tells its uses apart: whatever a plugin does with one, also long after, is harmless. Thread-safe.
class Suspensions {
 public:
  using Handle = extproc_resume_handle;

  /// Who waits.
  class Waiter {
   public:
    /// On the stream's thread, through its executor; also for a handle that was closed meanwhile. Of `plugin`'s: another
    /// plugin's handle may be the same number.
    virtual void resumed(const Suspensions& plugin, Handle handle, uint64_t token) = 0;

   protected:
    ~Waiter() = default;
  };

  /// A new handle, never 0, until close(). `executor` runs nothing any more when `waiter` is gone.
  Handle open(std::shared_ptr<Executor> executor, Waiter& waiter);
  /// Has the waiter's resumed() called. False: nobody waits for the handle, or it was resumed before.
  bool resume(Handle handle, uint64_t token);
  /// Resumes it for who goes on by himself: nobody else can any more, and resumed() is not called. False as above.
  bool claim(Handle handle);
  /// Has nobody resumed it yet?
  [[nodiscard]] bool is_waiting(Handle handle) const;
  /// Ends the suspension. False: it was resumed, and resumed() has been, or will be, called.
  bool close(Handle handle);

 private:
  struct Place {
    uint32_t use = 1;  // half of the handle; raised when the place becomes free
    bool resumed = false;
    std::shared_ptr<Executor> executor;  // null while the place is free
    Waiter* waiter = nullptr;
  };

  Place* find(Handle handle);
  [[nodiscard]] const Place* find(Handle handle) const;

  mutable std::mutex mutex_;
  std::vector<Place> places_;
  std::vector<uint32_t> free_;
};

}  // namespace extprocd::engine
