#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/transport/listen.h"

namespace extprocd::transport::h2 {

/// Accepts connections on a thread of its own, so that a loop that is busy holds nobody up.
class Acceptor {
 public:
  /// Takes over a connection. On the acceptor's thread.
  using Accepted = std::function<void(Descriptor connection)>;

  Acceptor(std::vector<Listener> listeners, Accepted accepted);
  /// stop()
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Stops listening: who connects from now on is refused by the system. Accepted connections stay.
  void stop();

 private:
  using Socket = boost::asio::posix::stream_descriptor;

  void await(Socket& socket);
  void accept_all(Socket& socket);

  boost::asio::io_context context_;
  std::vector<Listener> listeners_;
  const Accepted accepted_;
  std::vector<Socket> sockets_;
  boost::asio::steady_timer pause_;  // out of files
  std::thread thread_;
};

}  // namespace extprocd::transport::h2
