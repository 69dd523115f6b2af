#include "core/transport/grpc/listen.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <netdb.h>
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
  explicit Socket(int family) : number_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

absl::Status prepare_unix(const config::Address& address) {
  struct stat info{};
  if (lstat(address.path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) return cannot_listen(address, "a file that is no socket is in its place");
  const Socket probe(AF_UNIX);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address.path.copy(name.sun_path, sizeof name.sun_path - 1);
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0) {
    return cannot_listen(address, "another server listens on it");
  }
  if (errno == ECONNREFUSED && unlink(address.path.c_str()) != 0)
    return cannot_listen(address, std::strerror(errno));
  return absl::OkStatus();
}

absl::Status prepare_tcp(const config::Address& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (failed != 0) return cannot_listen(address, gai_strerror(failed));
  const Socket probe(found->ai_family);
  const int on = 1;
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int result = bind(probe.get(), found->ai_addr, found->ai_addrlen);
  const int error = errno;
  freeaddrinfo(found);
  if (result != 0) return cannot_listen(address, std::strerror(error));
  // Binding alone is not refused while another socket only listens with the same option.
  if (listen(probe.get(), 1) != 0) return cannot_listen(address, std::strerror(errno));
  return absl::OkStatus();
}

}  // namespace

absl::Status prepare_to_listen(const config::Address& address) {
  return address.kind == config::Address::Kind::kUnix ? prepare_unix(address) : prepare_tcp(address);
}

}  // namespace extprocd::transport
