#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include <sys/types.h>

#include "core/transport/grpc/traffic.h"
#include "core/transport/listen.h"

namespace extprocd::transport {

/// Accepts connections on a thread of its own, and looks after them. grpc++ 1.51 could accept, but closes a
/// listening socket for good the first time that the process has no file descriptor left, and knows no limit.
class Acceptor {
 public:
  struct Handlers {
    std::function<void(int listener, int connection)> accepted;  ///< takes the connection over
    std::function<void()> refused;                               ///< closed at once: over the limit
    std::function<void()> cut_off;                               ///< closed: sent too much of nothing
  };
  struct Limits {
    /// Connections open at once; fewer where the process may not open as many files.
    std::size_t connections = 0;
    /// Bytes that a TCP connection may send while no stream and no message comes of them.
    uint64_t bytes_of_nothing = std::numeric_limits<uint64_t>::max();
  };

  /// Begins to accept. The handlers are called on the acceptor's thread; `traffic` outlives it.
  static absl::StatusOr<std::unique_ptr<Acceptor>> start(std::vector<Listener> listeners,
                                                         const Limits& limits, Traffic& traffic,
                                                         Handlers handlers);
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
    std::string peer;                         // as Traffic knows it
    std::shared_ptr<Traffic::Events> events;  // null for Unix sockets
    uint64_t last_events = 0;
    uint64_t last_received = 0;  // bytes, when something last came of them
    bool cut_off = false;
  };

  Acceptor(std::vector<Listener> listeners, const Limits& limits, Traffic& traffic, Handlers handlers,
           Descriptor stop);

  void run();
  void accept_all(int listener);
  bool make_room();
  void forget_closed();
  void look_after();
  [[nodiscard]] std::chrono::milliseconds look_interval() const;

  std::vector<Listener> listeners_;
  Limits limits_;
  Traffic& traffic_;
  const Handlers handlers_;
  std::vector<Connection> open_;  // or closed since: nobody tells
  std::chrono::steady_clock::time_point looked_at_;
  std::chrono::steady_clock::time_point swept_at_;
  const Descriptor stop_;  // an eventfd
  std::thread thread_;
};

}  // namespace extprocd::transport
