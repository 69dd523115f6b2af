#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include <sys/types.h>

#include "core/transport/grpc/listen.h"

namespace extprocd::transport {

/// Accepts connections on a thread of its own, and looks after them. grpc++ 1.51 could accept, but closes a
/// listening socket for good the first time that the process has no file descriptor left, and knows no limit.
class Acceptor {
 public:
  struct Handlers {
    std::function<void(int listener, int connection)> accepted;  ///< takes the connection over
    std::function<void()> refused;                               ///< closed at once: over the limit
  };

  /// Begins to accept. At most so many connections are open at once, and fewer where the process may not open
  /// as many files. The handlers are called on the acceptor's thread.
  static absl::StatusOr<std::unique_ptr<Acceptor>> start(std::vector<Listener> listeners,
                                                         std::size_t max_connections, Handlers handlers);
  /// stop()
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Stops listening: who connects from now on is refused by the system. Accepted connections stay.
  void stop();

 private:
  struct Connection {
    int number;
    ino_t inode;
  };

  Acceptor(std::vector<Listener> listeners, std::size_t max_connections, Handlers handlers, Descriptor stop);

  void run();
  void accept_all(int listener);
  bool make_room();
  void forget_closed();
  void wake_forgotten();

  std::vector<Listener> listeners_;
  const std::size_t max_connections_;
  const Handlers handlers_;
  std::vector<Connection> open_;  // or closed since: nobody tells
  std::chrono::steady_clock::time_point looked_at_;
  const Descriptor stop_;  // an eventfd
  std::thread thread_;
};

}  // namespace extprocd::transport
