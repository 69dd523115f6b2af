#include "core/transport/h2/tls_channel.h"

#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace extprocd::transport::h2 {
namespace {

class TlsChannel final : public Channel {
 public:
  TlsChannel(Descriptor socket, SessionPtr session, TlsHandshakes& handshakes, std::string peer)
      : Channel(std::move(socket)),
        session_(std::move(session)),
        handshakes_(handshakes),
        peer_(std::move(peer)) {
    SSL_set_accept_state(session_.get());
    // Writes may be tried again from another buffer, and idle connections keep none.
    SSL_set_mode(session_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                     SSL_MODE_RELEASE_BUFFERS);
  }

  ~TlsChannel() override {
    if (!done_) handshakes_.failed(0, peer_);
  }

  bool begin() { return SSL_set_fd(session_.get(), number()) == 1; }

  /// One record after the other, as long as there is room: an SSL_read gives one.
  Moved read(std::span<uint8_t> to) override {
    std::size_t all = 0;
    while (all < to.size()) {
      ERR_clear_error();
      std::size_t size = 0;
      const int result = SSL_read_ex(session_.get(), to.data() + all, to.size() - all, &size);
      if (result == 1) {
        note_handshake();
        all += size;
        continue;
      }
      const State state = state_after(result);
      if (all > 0) break;
      if (state == State::kClosed && !done_) fail_handshake();
      if (state == State::kNeedRead) note_handshake();
      return {state, 0};
    }
    return {State::kOpen, all};
  }

  Moved write(std::string_view bytes) override {
    if (!done_ && SSL_is_init_finished(session_.get()) == 0) return {State::kNeedRead, 0};
    ERR_clear_error();
    std::size_t size = 0;
    const int result = SSL_write_ex(session_.get(), bytes.data(), bytes.size(), &size);
    if (result == 1) return {State::kOpen, size};
    return {state_after(result), 0};
  }

  [[nodiscard]] bool has_unread() const override { return SSL_pending(session_.get()) > 0; }
  [[nodiscard]] bool is_ready() const override { return SSL_is_init_finished(session_.get()) == 1; }

  void end_writing() override {
    ERR_clear_error();
    SSL_shutdown(session_.get());
    shutdown_writing();
  }

 private:
  State state_after(int result) {
    switch (SSL_get_error(session_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        return State::kNeedRead;
      case SSL_ERROR_WANT_WRITE:
        return State::kNeedWrite;
      default:
        return State::kClosed;
    }
  }

  void note_handshake() {
    if (done_ || SSL_is_init_finished(session_.get()) == 0) return;
    done_ = true;
    handshakes_.succeeded();
  }
  void fail_handshake() {
    done_ = true;  // it is told once
    handshakes_.failed(ERR_peek_error(), peer_);
  }

  const SessionPtr session_;
  TlsHandshakes& handshakes_;
  const std::string peer_;
  bool done_ = false;  // the handshake, either way
};

}  // namespace

std::unique_ptr<Channel> make_tls_channel(Descriptor socket, SessionPtr session, TlsHandshakes& handshakes,
                                          std::string peer) {
  if (!session) return nullptr;
  auto channel =
      std::make_unique<TlsChannel>(std::move(socket), std::move(session), handshakes, std::move(peer));
  if (!channel->begin()) return nullptr;
  return channel;
}

}  // namespace extprocd::transport::h2
