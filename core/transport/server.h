#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace extprocd::transport {

/// A transport that serves. Destroying it stops without waiting, if drain() was not called.
class Server {
 public:
  virtual ~Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Where it listens, with the ports that the system chose.
  [[nodiscard]] virtual const std::vector<std::string>& addresses() const = 0;

  struct Drained {
    std::size_t finished = 0;   ///< streams that were open and ended by themselves
    std::size_t cancelled = 0;  ///< streams that were still open at the deadline
  };
  /// Tells connections to go away (GOAWAY), takes no new streams, lets open ones finish until the deadline,
  /// then cancels them, and stops. Long-lived streams (health watches) are ended at once; connections that
  /// stay though they have no stream any more are closed after a second. Blocks. Once, not from one of its
  /// own threads.
  virtual Drained drain(std::chrono::duration<double> deadline) = 0;

 protected:
  Server() = default;
};

}  // namespace extprocd::transport
