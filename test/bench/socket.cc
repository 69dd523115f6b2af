#include "test/bench/socket.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/config/address.h"

namespace extprocd::bench {
namespace {

constexpr int kBacklog = 128;

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const {
    return static_cast<const sockaddr*>(static_cast<const void*>(&storage));
  }
};

absl::Status failure(const std::string& what, const std::string& address, const std::string& why) {
  return absl::UnavailableError("cannot " + what + " " + address + ": " + why);
}

absl::StatusOr<Endpoint> resolve(const std::string& text) {
  const absl::StatusOr<config::Address> address = config::parse_address(text);
  if (!address.ok()) return absl::InvalidArgumentError(text + ": " + std::string(address.status().message()));
  Endpoint endpoint;
  if (address->kind == config::Address::Kind::kUnix) {
    sockaddr_un unix_address{};
    unix_address.sun_family = AF_UNIX;
    std::memcpy(unix_address.sun_path, address->path.data(), address->path.size());
    std::memcpy(&endpoint.storage, &unix_address, sizeof(unix_address));
    endpoint.size = sizeof(unix_address);
    return endpoint;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address->host.c_str(), std::to_string(address->port).c_str(), &hints, &found);
  if (error != 0) return failure("find", text, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  std::memcpy(&endpoint.storage, found->ai_addr, found->ai_addrlen);
  endpoint.size = found->ai_addrlen;
  return endpoint;
}

void send_without_delay(const Descriptor& socket) {
  const int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on,
             sizeof(on));  // refused on Unix sockets, which need none
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Descriptor> connect_to(const std::string& address) {
  const absl::StatusOr<Endpoint> endpoint = resolve(address);
  if (!endpoint.ok()) return endpoint.status();
  Descriptor socket(::socket(endpoint->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(socket.get(), endpoint->get(), endpoint->size) != 0) {
    return failure("connect to", address, std::strerror(errno));
  }
  fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  send_without_delay(socket);
  return socket;
}

absl::StatusOr<Descriptor> listen_on(const std::string& address) {
  const absl::StatusOr<Endpoint> endpoint = resolve(address);
  if (!endpoint.ok()) return endpoint.status();
  Descriptor socket(::socket(endpoint->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(socket.get(), endpoint->get(), endpoint->size) != 0 || listen(socket.get(), kBacklog) != 0) {
    return failure("listen on", address, std::strerror(errno));
  }
  return socket;
}

Descriptor accept_from(const Descriptor& listener) {
  Descriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.get() >= 0) send_without_delay(socket);
  return socket;
}

std::string local_address(const Descriptor& listener) {
  Endpoint endpoint;
  endpoint.size = sizeof(endpoint.storage);
  getsockname(listener.get(), static_cast<sockaddr*>(static_cast<void*>(&endpoint.storage)), &endpoint.size);
  if (endpoint.storage.ss_family == AF_UNIX) {
    sockaddr_un unix_address{};
    std::memcpy(&unix_address, &endpoint.storage, sizeof(unix_address));
    return std::string("unix:") + unix_address.sun_path;
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  getnameinfo(endpoint.get(), endpoint.size, host.data(), host.size(), port.data(), port.size(),
              NI_NUMERICHOST | NI_NUMERICSERV);
  const std::string name = host.data();
  return (name.find(':') == std::string::npos ? name : "[" + name + "]") + ":" + port.data();
}

}  // namespace extprocd::bench
