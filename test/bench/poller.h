#pragma once

#include <chrono>
#include <optional>

#include "test/bench/socket.h"

namespace extprocd::bench {

/// What a Poller tells that a file descriptor can be read or written.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void on_ready() = 0;
};

/// epoll, level-triggered. One thread.
class Poller {
 public:
  /// Ends the process if the system has no epoll to give.
  Poller();

  /// `watcher` stays alive until remove(). Between waits only, so that nobody is told who is gone.
  void add(int fd, Watcher& watcher);
  void remove(int fd);
  /// Tell also when it can be written.
  void want_write(int fd, Watcher& watcher, bool wanted);

  /// Waits until something is ready, and tells its watchers; without a timeout for ever.
  void wait(std::optional<std::chrono::nanoseconds> timeout);

 private:
  Descriptor epoll_;
};

}  // namespace extprocd::bench
