#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include <sys/stat.h>

#include "core/config/address.h"

namespace extprocd::transport {

/// An open file descriptor; closes it.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

/// The sockets that listen on one address: several where a name stands for several. A Unix socket's file goes
/// with them, unless another server has put its own in its place.
class Listener {
 public:
  /// Binds and listens; replaces a Unix socket that nobody listens on any more. Errors name the address and
  /// the cause.
  static absl::StatusOr<Listener> open(const config::Address& address);
  /// The same for all addresses of server.listen; the first that fails is the error.
  static absl::StatusOr<std::vector<Listener>> open_all(const std::vector<std::string>& addresses);

  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = delete;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  /// With the port that the system chose, if it did.
  [[nodiscard]] const config::Address& address() const { return address_; }
  [[nodiscard]] const std::vector<Descriptor>& sockets() const { return sockets_; }

 private:
  explicit Listener(config::Address address) : address_(std::move(address)) {}
  absl::Status open_unix();
  absl::Status open_tcp();

  config::Address address_;
  std::vector<Descriptor> sockets_;
  struct stat file_{};  // of a Unix socket
};

}  // namespace extprocd::transport
