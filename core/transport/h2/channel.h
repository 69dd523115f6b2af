#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "core/transport/listen.h"

namespace extprocd::transport::h2 {

/// The bytes of a connection: a socket that does not block, with or without TLS. One thread at a time.
class Channel {
 public:
  enum class State : uint8_t {
    kOpen,       ///< `size` bytes were moved
    kNeedRead,   ///< go on when the socket is readable
    kNeedWrite,  ///< go on when the socket is writable
    kClosed,     ///< by the peer, or broken
  };
  struct Moved {
    State state;
    std::size_t size;
  };

  virtual ~Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Reads what there is, up to the size of `to`; with kOpen at least one byte.
  virtual Moved read(std::span<uint8_t> to) = 0;
  /// Writes some of `bytes`, which are not empty.
  virtual Moved write(std::string_view bytes) = 0;
  /// Are there bytes to read that the socket will not tell of?
  [[nodiscard]] virtual bool has_unread() const { return false; }
  /// May bytes be written? Not before TLS has shaken hands, which reading does.
  [[nodiscard]] virtual bool is_ready() const { return true; }
  /// Says that no more will be written.
  virtual void end_writing() = 0;

  [[nodiscard]] int number() const { return socket_.get(); }

 protected:
  explicit Channel(Descriptor socket) : socket_(std::move(socket)) {}
  void shutdown_writing() const;

 private:
  Descriptor socket_;
};

/// A channel without TLS.
std::unique_ptr<Channel> make_plain_channel(Descriptor socket);

}  // namespace extprocd::transport::h2
