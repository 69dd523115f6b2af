#include "core/transport/grpc/acceptor.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/telemetry/log.h"
#include "core/transport/accepted.h"

namespace extprocd::transport {
namespace {

constexpr uint8_t kClosed = 7;  // TCP_CLOSE, of a header that does not go together with this tcp_info

constexpr int kRetryMilliseconds = 50;
// Between looks at what became of the connections.
constexpr std::chrono::milliseconds kLeastInterval{100};
constexpr std::chrono::milliseconds kMostInterval{1000};
constexpr std::chrono::milliseconds kStormInterval{20};

/// What gRPC takes from a peer for a stream that it is not asked to read: as much as a window, which it lets grow by what
/// the connection carries. 8 MiB were seen.
constexpr uint64_t kMostUnread = 16 << 20;

/// What the system knows of a TCP connection; nothing of other sockets.
std::optional<tcp_info> look_at(int number) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(number, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return info;
}

/// The inode of an open file; 0 if it is not open.
ino_t inode_of(int number) {
  struct stat info{};
  return fstat(number, &info) == 0 ? info.st_ino : 0;
}

/// Ends a connection that is gRPC's, by an event that makes gRPC close it. gRPC may close it at this moment, and
/// its number be used anew: that of a duplicate stays ours.
void shut_down(int number, ino_t inode) {
  const Descriptor own(fcntl(number, F_DUPFD_CLOEXEC, 0));
  if (own.get() >= 0 && inode_of(own.get()) == inode) shutdown(own.get(), SHUT_RDWR);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::start(std::vector<Listener> listeners,
                                                          const Limits& limits, Traffic& traffic,
                                                          Handlers handlers) {
  Descriptor stop(eventfd(0, EFD_CLOEXEC));
  if (stop.get() < 0) {
    return absl::UnavailableError("cannot accept connections: " + std::string(std::strerror(errno)));
  }
  return std::unique_ptr<Acceptor>(
      new Acceptor(std::move(listeners), limits, traffic, std::move(handlers), std::move(stop)));
}

Acceptor::Acceptor(std::vector<Listener> listeners, const Limits& limits, Traffic& traffic, Handlers handlers,
                   Descriptor stop)
    : listeners_(std::move(listeners)),
      limits_(limits),
      traffic_(traffic),
      handlers_(std::move(handlers)),
      stop_(std::move(stop)) {
  limits_.connections = within_file_limit(limits.connections);
  thread_ = std::thread([this] { run(); });
}

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
    if (poll(polled.data(), polled.size(), open_.empty() ? -1 : static_cast<int>(look_interval().count())) <
        0)
      continue;
    if (polled[0].revents != 0) return;
    look_after();
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
    Connection& opened = open_.emplace_back();
    opened.number = connection;
    opened.inode = inode_of(connection);
    opened.peer = peer_of(connection);
    // gRPC names scopes in another way, so their connections are not looked at.
    const bool is_tcp = !is_unix_socket(connection) && !opened.peer.empty();
    if (is_tcp && opened.peer.find('%') == std::string::npos) opened.events = traffic_.begin(opened.peer);
    handlers_.accepted(listener, connection);
  }
}

/// Is there room for one more connection? Looks which are still open only when there seems to be none, and not
/// at every try of a storm.
bool Acceptor::make_room() {
  if (open_.size() < limits_.connections) return true;
  const auto now = std::chrono::steady_clock::now();
  if (now - swept_at_ < kStormInterval) return false;
  swept_at_ = now;
  forget_closed();
  return open_.size() < limits_.connections;
}

/// A file descriptor that was closed and used anew has another inode.
void Acceptor::forget_closed() {
  std::erase_if(open_, [this](const Connection& one) {
    const bool closed = inode_of(one.number) != one.inode;
    if (closed && one.events) traffic_.end(one.peer, one.events);
    return closed;
  });
}

/// Looking costs some microseconds a connection.
std::chrono::milliseconds Acceptor::look_interval() const {
  return std::clamp<std::chrono::milliseconds>(std::chrono::milliseconds(open_.size() / 10), kLeastInterval,
                                               kMostInterval);
}

/// Two things that grpc++ 1.51 leaves undone. It sleeps through a reset that comes together with data: it reads
/// until there is no more data and waits for an event that it has had, so the connection and its streams would
/// stay open for two hours. And it keeps a header list that does not end, however long it is.
void Acceptor::look_after() {
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_at_ < look_interval()) return;
  looked_at_ = now;
  forget_closed();
  for (Connection& one : open_) {
    const auto info = look_at(one.number);
    if (!info) continue;
    // Each time anew, until gRPC has seen it.
    if (info->tcpi_state == kClosed || one.cut_off) shut_down(one.number, one.inode);
    if (!one.events || one.cut_off) continue;
    const uint64_t events = one.events->count.load(std::memory_order_relaxed);
    const uint64_t unread = one.events->unread.load(std::memory_order_relaxed);
    if (events != one.last_events) {
      one.last_events = events;
      one.last_received = info->tcpi_bytes_received;
    } else if (info->tcpi_bytes_received - one.last_received >
               limits_.bytes_of_nothing + unread * kMostUnread) {
      telemetry::log(telemetry::Level::kWarn, "grpc",
                     "closed the connection of " + one.peer + ": it sent " +
                         std::to_string(info->tcpi_bytes_received - one.last_received) +
                         " bytes that made neither a stream nor a message");
      one.cut_off = true;
      shut_down(one.number, one.inode);
      handlers_.cut_off();
    }
  }
}

}  // namespace extprocd::transport
