#include "core/transport/h2/channel.h"

#include <cerrno>

#include <sys/socket.h>

namespace extprocd::transport::h2 {
namespace {

class PlainChannel final : public Channel {
 public:
  explicit PlainChannel(Descriptor socket) : Channel(std::move(socket)) {}

  Moved read(std::span<uint8_t> to) override {
    const ssize_t size = again([&] { return recv(number(), to.data(), to.size(), 0); });
    return size == 0 ? Moved{State::kClosed, 0} : moved(size, State::kNeedRead);
  }
  Moved write(std::string_view bytes) override {
    return moved(again([&] { return send(number(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }),
                 State::kNeedWrite);
  }
  void end_writing() override { shutdown_writing(); }

 private:
  template <typename Call>
  static ssize_t again(Call call) {
    ssize_t size = call();
    while (size < 0 && errno == EINTR) size = call();
    return size;
  }
  static Moved moved(ssize_t size, State wait) {
    if (size >= 0) return {State::kOpen, static_cast<std::size_t>(size)};
    return {errno == EAGAIN || errno == EWOULDBLOCK ? wait : State::kClosed, 0};
  }
};

}  // namespace

void Channel::shutdown_writing() const { shutdown(number(), SHUT_WR); }

std::unique_ptr<Channel> make_plain_channel(Descriptor socket) {
  return std::make_unique<PlainChannel>(std::move(socket));
}

}  // namespace extprocd::transport::h2
