#include "core/transport/grpc/acceptor.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/telemetry/log.h"

namespace extprocd::transport {
namespace {

// Files that connections leave to the rest of the process: its own, the admin server's, the plugins'.
constexpr std::size_t kReservedFiles = 100;
constexpr int kRetryMilliseconds = 50;
constexpr int kLookMilliseconds = 1000;  // between looks at what became of the connections
constexpr std::chrono::milliseconds kStormInterval{20};

std::size_t within_file_limit(std::size_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return connections;
  const std::size_t files = limit.rlim_cur;
  return std::min(connections, files > 2 * kReservedFiles ? files - kReservedFiles : files / 2);
}

/// Is the TCP connection behind an open socket gone?
bool is_gone(int number) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return getsockopt(number, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_CLOSE;
}

/// The inode of an open file; 0 if it is not open.
ino_t inode_of(int number) {
  struct stat info{};
  return fstat(number, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::start(std::vector<Listener> listeners,
                                                          std::size_t max_connections, Handlers handlers) {
  Descriptor stop(eventfd(0, EFD_CLOEXEC));
  if (stop.get() < 0) {
    return absl::UnavailableError("cannot accept connections: " + std::string(std::strerror(errno)));
  }
  return std::unique_ptr<Acceptor>(
      new Acceptor(std::move(listeners), max_connections, std::move(handlers), std::move(stop)));
}

Acceptor::Acceptor(std::vector<Listener> listeners, std::size_t max_connections, Handlers handlers,
                   Descriptor stop)
    : listeners_(std::move(listeners)),
      max_connections_(within_file_limit(max_connections)),
      handlers_(std::move(handlers)),
      stop_(std::move(stop)),
      thread_([this] { run(); }) {}

Acceptor::~Acceptor() { stop(); }

void Acceptor::stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (write(stop_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
  listeners_.clear();
}

void Acceptor::run() {
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0}};
  for (const Listener& listener : listeners_) {
    for (const Descriptor& one : listener.sockets()) polled.push_back({one.get(), POLLIN, 0});
  }
  while (true) {
    if (poll(polled.data(), polled.size(), open_.empty() ? -1 : kLookMilliseconds) < 0) continue;
    if (polled[0].revents != 0) return;
    wake_forgotten();
    for (std::size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0) accept_all(polled[i].fd);
    }
  }
}

void Acceptor::accept_all(int listener) {
  while (true) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // Out of files or memory: who waits to be accepted waits on.
      static telemetry::RateLimit limit(0.1);
      const std::string cause = std::strerror(errno);
      if (limit.allow())
        telemetry::log(telemetry::Level::kWarn, "grpc", "cannot accept connections: " + cause);
      pollfd stop = {stop_.get(), POLLIN, 0};
      poll(&stop, 1, kRetryMilliseconds);
      return;
    }
    if (!make_room()) {
      close(connection);
      handlers_.refused();
      continue;
    }
    open_.push_back({connection, inode_of(connection)});
    handlers_.accepted(listener, connection);
  }
}

/// Is there room for one more connection? Looks which are still open only when there seems to be none, and not
/// at every try of a storm.
bool Acceptor::make_room() {
  if (open_.size() < max_connections_) return true;
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_at_ < kStormInterval) return false;
  forget_closed();
  return open_.size() < max_connections_;
}

/// A file descriptor that was closed and used anew has another inode.
void Acceptor::forget_closed() {
  looked_at_ = std::chrono::steady_clock::now();
  std::erase_if(open_, [](const Connection& one) { return inode_of(one.number) != one.inode; });
}

/// grpc++ 1.51 sleeps through a reset that comes together with data: it reads until there is no more data, and
/// waits for an event that it has had. The connection and its streams would stay open for two hours.
void Acceptor::wake_forgotten() {
  if (std::chrono::steady_clock::now() - looked_at_ < std::chrono::milliseconds(kLookMilliseconds)) return;
  forget_closed();
  for (const Connection& one : open_) {
    if (!is_gone(one.number)) continue;
    // gRPC may close it at this moment, and the number be used anew: that of a duplicate stays ours.
    const Descriptor own(fcntl(one.number, F_DUPFD_CLOEXEC, 0));
    if (own.get() >= 0 && inode_of(own.get()) == one.inode) shutdown(own.get(), SHUT_RDWR);  // an event
  }
}

}  // namespace extprocd::transport
