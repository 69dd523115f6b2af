#include "test/support/http2_client.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace extprocd::test {
namespace {

constexpr std::chrono::seconds kVeryLong{60};
constexpr int kMoment = 20;  // milliseconds

void wait_for_socket(int socket, short events) {
  pollfd one{socket, events, 0};
  poll(&one, 1, kMoment);
}

}  // namespace

transport::Descriptor Http2Client::connect(const std::string& address) {
  transport::Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    throw std::runtime_error("cannot connect to " + address + ": " + std::strerror(errno));
  const int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

Http2Client::Http2Client(transport::Descriptor socket, Turn turn)
    : socket_(std::move(socket)),
      turn_(turn ? std::move(turn) : [this] { wait_for_socket(socket_.get(), POLLIN); }) {
  fcntl(socket_.get(), F_SETFL, fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

void Http2Client::greet(const std::vector<std::pair<uint16_t, uint32_t>>& settings) {
  std::string hello(kPreface);
  hello += settings_frame(settings);
  hello += window_update_frame(0, 1 << 30);
  send(hello);
}

bool Http2Client::send(std::string_view bytes) {
  const auto end = std::chrono::steady_clock::now() + kVeryLong;
  while (!bytes.empty() && !closed_ && std::chrono::steady_clock::now() < end) {
    const ssize_t size = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(size));
    } else if (errno == EAGAIN) {
      turn_();
      wait_for_socket(socket_.get(), POLLOUT);
    } else if (errno != EINTR) {
      read();  // what was said before it closed
      closed_ = true;
    }
  }
  return bytes.empty();
}

int32_t Http2Client::open(const Fields& fields, bool end_stream) {
  const int32_t stream = std::exchange(next_stream_, next_stream_ + 2);
  reader.opened(stream);
  send(writer.headers(stream, fields, end_stream));
  return stream;
}

void Http2Client::read() {
  std::array<char, 65536> buffer;  // NOLINT: filled by recv
  while (reads && !closed_) {
    const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      closed_ = true;
      return;
    }
    reader.read({buffer.data(), static_cast<std::size_t>(size)});
    const std::string owed = std::exchange(reader.answers, {});
    if (answers && !owed.empty()) send(owed);
  }
}

bool Http2Client::wait(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kVeryLong;
  while (true) {
    read();
    if (holds()) return true;
    if (closed_ || std::chrono::steady_clock::now() > end) return false;
    turn_();
  }
}

bool Http2Client::settle() {
  std::string name = "ping" + big_endian(static_cast<uint32_t>(++settled_));
  send(ping_frame(name));
  return wait([&] { return !reader.ping_answers.empty() && reader.ping_answers.back() == name; });
}

void Http2Client::end_writing() { shutdown(socket_.get(), SHUT_WR); }

}  // namespace extprocd::test
