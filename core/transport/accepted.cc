#include "core/transport/accepted.h"

#include <algorithm>
#include <array>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace extprocd::transport {
namespace {

// Files that connections leave to the rest of the process: its own, the admin server's, the plugins'.
constexpr std::size_t kReservedFiles = 100;

}  // namespace

std::string peer_of(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (name.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
    inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    return "ipv4:" + std::string(text.data()) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (name.ss_family != AF_INET6) return "unix:";
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name);
  if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
    inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text.data(), text.size());
    return "ipv4:" + std::string(text.data()) + ":" + std::to_string(ntohs(v6->sin6_port));
  }
  inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
  const std::string scope = v6->sin6_scope_id == 0 ? "" : "%" + std::to_string(v6->sin6_scope_id);
  return "ipv6:[" + std::string(text.data()) + scope + "]:" + std::to_string(ntohs(v6->sin6_port));
}

bool is_unix_socket(int socket) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

std::size_t within_file_limit(std::size_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return connections;
  const std::size_t files = limit.rlim_cur;
  return std::min(connections, files > 2 * kReservedFiles ? files - kReservedFiles : files / 2);
}

}  // namespace extprocd::transport
