#include "core/transport/listen.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace extprocd::transport {
namespace {

constexpr int kBacklog = 4096;  // connections that wait to be accepted; the system may cut it

absl::Status cannot_listen(const config::Address& address, const std::string& cause) {
  return absl::UnavailableError("cannot listen on " + address.to_string() + ": " + cause);
}

Descriptor open_socket(int family) {
  return Descriptor(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// Opens a socket that listens there; the errno of what failed, or 0.
int listen_on(const sockaddr* address, socklen_t size, std::vector<Descriptor>& sockets) {
  Descriptor listening = open_socket(address->sa_family);
  if (listening.get() < 0) return errno;
  const int on = 1;
  setsockopt(listening.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int off = 0;
  if (address->sa_family == AF_INET6)
    setsockopt(listening.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // Replies are small and wait for nothing; accepted connections take this over.
  if (address->sa_family != AF_UNIX) setsockopt(listening.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(listening.get(), address, size) != 0) return errno;
  if (listen(listening.get(), kBacklog) != 0) return errno;
  sockets.push_back(std::move(listening));
  return 0;
}

/// The port that a socket got; 0 if it has none.
uint16_t port_of(const Descriptor& listening) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(listening.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  if (name.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&name)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
}

/// Removes a socket that nobody listens on.
absl::Status remove_stale(const config::Address& address, const sockaddr_un& name) {
  struct stat info{};
  if (lstat(address.path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) return cannot_listen(address, "a file that is no socket is in its place");
  const Descriptor probe = open_socket(AF_UNIX);
  if (probe.get() < 0) return cannot_listen(address, std::strerror(errno));
  const int result = connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name);
  // EAGAIN: somebody listens, with a full queue.
  if (result == 0 || errno == EAGAIN) return cannot_listen(address, "another server listens on it");
  if (errno == ENOENT) return absl::OkStatus();
  if (errno != ECONNREFUSED) {
    return cannot_listen(address, "another server may listen on it: " + std::string(std::strerror(errno)));
  }
  if (unlink(address.path.c_str()) != 0 && errno != ENOENT)
    return cannot_listen(address, std::strerror(errno));
  return absl::OkStatus();
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

absl::StatusOr<Listener> Listener::open(const config::Address& address) {
  Listener listener(address);
  const absl::Status status =
      address.kind == config::Address::Kind::kUnix ? listener.open_unix() : listener.open_tcp();
  if (!status.ok()) return status;
  return listener;
}

absl::StatusOr<std::vector<Listener>> Listener::open_all(const std::vector<std::string>& addresses) {
  std::vector<Listener> listeners;
  for (const std::string& text : addresses) {
    const auto address = config::parse_address(text);
    if (!address.ok()) return address.status();
    auto listener = open(*address);
    if (!listener.ok()) return listener.status();
    listeners.push_back(*std::move(listener));
  }
  return listeners;
}

absl::Status Listener::open_unix() {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address_.path.copy(name.sun_path, sizeof name.sun_path - 1);
  if (absl::Status status = remove_stale(address_, name); !status.ok()) return status;
  const int error = listen_on(reinterpret_cast<const sockaddr*>(&name), sizeof name, sockets_);
  if (error != 0) return cannot_listen(address_, std::strerror(error));
  if (lstat(address_.path.c_str(), &file_) != 0) return cannot_listen(address_, std::strerror(errno));
  return absl::OkStatus();
}

absl::Status Listener::open_tcp() {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* resolved = nullptr;
  const int failed =
      getaddrinfo(address_.host.c_str(), std::to_string(address_.port).c_str(), &hints, &resolved);
  if (failed != 0) return cannot_listen(address_, gai_strerror(failed));
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(resolved, &freeaddrinfo);
  // A name may have several addresses: one of them is enough, but a busy one is a mistake.
  int first_error = 0;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    if (one->ai_family == AF_INET6) {
      reinterpret_cast<sockaddr_in6*>(one->ai_addr)->sin6_port = htons(address_.port);
    } else {
      reinterpret_cast<sockaddr_in*>(one->ai_addr)->sin_port = htons(address_.port);
    }
    const int error = listen_on(one->ai_addr, one->ai_addrlen, sockets_);
    if (error == EADDRINUSE) return cannot_listen(address_, std::strerror(error));
    if (error == 0 && address_.port == 0) address_.port = port_of(sockets_.back());  // the others' too
    if (first_error == 0) first_error = error;
  }
  if (!sockets_.empty()) return absl::OkStatus();
  if (first_error == EAFNOSUPPORT && address_.host == "::") {  // all interfaces of a machine without IPv6
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(address_.port);
    first_error = listen_on(reinterpret_cast<const sockaddr*>(&any), sizeof any, sockets_);
    if (first_error == 0) address_.port = port_of(sockets_.back());
  }
  return first_error == 0 ? absl::OkStatus() : cannot_listen(address_, std::strerror(first_error));
}

Listener::~Listener() {
  if (sockets_.empty() || address_.kind != config::Address::Kind::kUnix) return;
  struct stat now{};
  if (lstat(address_.path.c_str(), &now) != 0) return;
  if (now.st_dev == file_.st_dev && now.st_ino == file_.st_ino) unlink(address_.path.c_str());
}

}  // namespace extprocd::transport
