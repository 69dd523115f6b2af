#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace extprocd::bench {

/// An open file descriptor, closed in the end; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

/// Addresses are "host:port", "[v6]:port" or "unix:/path". Errors name the address and the cause. All sockets
/// are non-blocking, and TCP ones send without delay.

/// A connection; waits until it stands.
absl::StatusOr<Descriptor> connect_to(const std::string& address);
absl::StatusOr<Descriptor> listen_on(const std::string& address);
/// The next connection, or none.
Descriptor accept_from(const Descriptor& listener);
/// Where a socket listens, with the port that the system chose.
std::string local_address(const Descriptor& listener);

}  // namespace extprocd::bench
