#include "core/transport/h2/acceptor.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include <sys/socket.h>

#include "core/telemetry/log.h"

namespace extprocd::transport::h2 {
namespace {

constexpr std::chrono::milliseconds kRetry{50};

}  // namespace

Acceptor::Acceptor(std::vector<Listener> listeners, Accepted accepted)
    : context_(1), listeners_(std::move(listeners)), accepted_(std::move(accepted)), pause_(context_) {
  for (const Listener& listener : listeners_) {
    for (const Descriptor& socket : listener.sockets()) sockets_.emplace_back(context_, socket.get());
  }
  for (Socket& socket : sockets_) await(socket);
  thread_ = std::thread([this] { context_.run(); });
}

Acceptor::~Acceptor() { stop(); }

void Acceptor::stop() {
  if (!thread_.joinable()) return;
  context_.stop();
  thread_.join();
  for (Socket& socket : sockets_) static_cast<void>(socket.release());
  listeners_.clear();
}

void Acceptor::await(Socket& socket) {
  socket.async_wait(Socket::wait_read, [this, &socket](const boost::system::error_code& error) {
    if (!error) accept_all(socket);
  });
}

void Acceptor::accept_all(Socket& socket) {
  while (true) {
    Descriptor connection(accept4(socket.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection.get() >= 0) {
      accepted_(std::move(connection));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return await(socket);
    // Out of files or memory: who waits to be accepted waits on.
    static telemetry::RateLimit lines(0.1);
    const std::string cause = std::strerror(errno);
    if (lines.allow()) telemetry::log(telemetry::Level::kWarn, "h2", "cannot accept connections: " + cause);
    pause_.expires_after(kRetry);
    pause_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      for (Socket& one : sockets_) await(one);
    });
    return;
  }
}

}  // namespace extprocd::transport::h2
