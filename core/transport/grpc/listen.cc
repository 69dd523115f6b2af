#include "core/transport/grpc/listen.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace extprocd::transport {
namespace {

absl::Status cannot_listen(const config::Address& address, const std::string& cause) {
  return absl::UnavailableError("cannot listen on " + address.to_string() + ": " + cause);
}

class Socket {
 public:
  explicit Socket(int family) : number_(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

/// Binds and listens for a moment; the errno of what failed, or 0.
int try_to_listen(const sockaddr* address, socklen_t size) {
  const Socket probe(address->sa_family);
  if (probe.get() < 0) return errno;
  const int on = 1;
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int off = 0;
  if (address->sa_family == AF_INET6) setsockopt(probe.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(probe.get(), address, size) != 0) return errno;
  // Binding alone is not refused while another socket only listens with the same option.
  return listen(probe.get(), 1) == 0 ? 0 : errno;
}

/// Removes a socket that nobody listens on.
absl::Status remove_stale(const config::Address& address, const sockaddr_un& name) {
  struct stat info{};
  if (lstat(address.path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) return cannot_listen(address, "a file that is no socket is in its place");
  const Socket probe(AF_UNIX);
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

absl::Status prepare_unix(const config::Address& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address.path.copy(name.sun_path, sizeof name.sun_path - 1);
  if (absl::Status status = remove_stale(address, name); !status.ok()) return status;
  const int error = try_to_listen(reinterpret_cast<const sockaddr*>(&name), sizeof name);
  if (error != 0) return cannot_listen(address, std::strerror(error));
  unlink(address.path.c_str());  // the one that this made
  return absl::OkStatus();
}

absl::Status prepare_tcp(const config::Address& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* resolved = nullptr;
  const int failed =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &resolved);
  if (failed != 0) return cannot_listen(address, gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(resolved, &freeaddrinfo);
  // A name may have several addresses: gRPC wants one of them, but a busy one is a mistake.
  int first_error = 0;
  bool usable = false;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    const int error = try_to_listen(one->ai_addr, one->ai_addrlen);
    if (error == EADDRINUSE) return cannot_listen(address, std::strerror(error));
    // gRPC takes [::] for all interfaces, and does without IPv6 where a machine has none.
    const bool no_ipv6 = error == EAFNOSUPPORT && address.host == "::";
    if (error == 0 || no_ipv6) usable = true;
    if (first_error == 0) first_error = error;
  }
  return usable ? absl::OkStatus() : cannot_listen(address, std::strerror(first_error));
}

}  // namespace

absl::Status prepare_to_listen(const config::Address& address) {
  return address.kind == config::Address::Kind::kUnix ? prepare_unix(address) : prepare_tcp(address);
}

}  // namespace extprocd::transport
