#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/transport/h2/channel.h"
#include "core/transport/h2/shared.h"

namespace extprocd::transport::h2 {

class Connection;

/// A thread that serves connections, and what they share because they take turns. Who does not start() it may run it
/// himself, on one thread.
class Loop {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Loop(Shared& shared);
  /// Stops without more ado; after stop() nothing is left to be done.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Begins its thread. At most once.
  void start();

  // Any thread.

  /// Takes over a connection that was accepted. `peer` as gRPC writes it.
  void adopt(std::unique_ptr<Channel> channel, std::string peer);
  /// How many connections it has, or is about to have.
  [[nodiscard]] std::size_t load() const { return load_.load(std::memory_order_relaxed); }
  /// Tells all connections to go away when their streams have ended.
  void drain();
  /// Cancels all streams, and closes the connections.
  void close_all();
  /// Ends the thread.
  void stop();

  // The loop's own thread.

  /// Who posts from another thread holds it weakly, and for that moment keeps it.
  [[nodiscard]] const std::shared_ptr<boost::asio::io_context>& context() const { return context_; }
  /// Where to read to. Whoever reads has it until he returns to the loop.
  [[nodiscard]] std::span<uint8_t> input() { return input_; }
  /// Where to put together what is to be written; empty between uses.
  [[nodiscard]] std::string& output() { return output_; }
  /// An empty string that has room already, if there is one to spare.
  [[nodiscard]] std::string take_buffer();
  /// Gives back one that is not needed any more.
  void give_back(std::string&& buffer);
  void forget(Connection& connection);
  /// Does what there is to do now, without waiting. Only where it was not started.
  void run_ready();
  /// Looks at the timeouts of all connections. Started, it does so by itself.
  void tick(Clock::time_point now);

 private:
  void await_tick();

  Shared& shared_;
  const std::shared_ptr<boost::asio::io_context> context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer timer_;
  bool started_ = false;
  bool ticking_ = false;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::vector<uint8_t> input_;
  std::string output_;
  std::vector<std::string> spare_buffers_;
  std::atomic<std::size_t> load_{0};
  std::thread thread_;
};

}  // namespace extprocd::transport::h2
