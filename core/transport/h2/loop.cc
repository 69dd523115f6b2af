#include "core/transport/h2/loop.h"

#include <utility>

#include <boost/asio/post.hpp>

#include "core/telemetry/log.h"
#include "core/transport/h2/connection.h"

namespace extprocd::transport::h2 {
namespace {

constexpr std::size_t kReadAtOnce = 64 << 10;
constexpr std::size_t kSpareBuffers = 16;
constexpr std::size_t kLargestSpare = 4 << 20;
// How exactly timeouts of connections are kept.
constexpr std::chrono::milliseconds kTick{200};

}  // namespace

Loop::Loop(Shared& shared)
    : shared_(shared),
      // Sockets are touched by the loop's thread alone, so their locks can go; posting stays safe.
      context_(std::make_shared<boost::asio::io_context>(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO)),
      work_(boost::asio::make_work_guard(*context_)),
      timer_(*context_),
      input_(kReadAtOnce) {}

Loop::~Loop() {
  stop();
  connections_.clear();
}

void Loop::start() {
  started_ = true;
  thread_ = std::thread([context = context_] { context->run(); });
}

void Loop::run_ready() { context_->poll(); }

void Loop::adopt(std::unique_ptr<Channel> channel, std::string peer) {
  load_.fetch_add(1, std::memory_order_relaxed);
  boost::asio::post(*context_, [this, channel = std::move(channel), peer = std::move(peer)]() mutable {
    try {
      auto connection = std::make_shared<Connection>(*this, shared_, std::move(channel), std::move(peer));
      connections_.emplace(connection.get(), connection);
      connection->start();
    } catch (const boost::system::system_error& error) {  // the system has no room for one more
      telemetry::log(telemetry::Level::kWarn, "h2", std::string("dropped a connection: ") + error.what());
      load_.fetch_sub(1, std::memory_order_relaxed);
      shared_.connection_over();
    }
    if (started_ && !std::exchange(ticking_, true)) await_tick();
  });
}

void Loop::drain() {
  boost::asio::post(*context_, [this] {
    for (auto next = connections_.begin(); next != connections_.end();) (next++)->second->drain();
  });
}

void Loop::close_all() {
  boost::asio::post(*context_, [this] {
    while (!connections_.empty()) connections_.begin()->second->cut_off();
  });
}

void Loop::stop() {
  if (!thread_.joinable()) return;
  work_.reset();
  context_->stop();
  thread_.join();
}

std::string Loop::take_buffer() {
  if (spare_buffers_.empty()) return {};
  std::string buffer = std::move(spare_buffers_.back());
  spare_buffers_.pop_back();
  return buffer;
}

void Loop::give_back(std::string&& buffer) {
  if (spare_buffers_.size() == kSpareBuffers || buffer.capacity() > kLargestSpare) return;
  buffer.clear();
  spare_buffers_.push_back(std::move(buffer));
}

void Loop::forget(Connection& connection) {
  connections_.erase(&connection);
  load_.fetch_sub(1, std::memory_order_relaxed);
}

void Loop::await_tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    tick(Clock::now());
    ticking_ = !connections_.empty();
    if (ticking_) await_tick();
  });
}

void Loop::tick(Clock::time_point now) {
  for (auto next = connections_.begin(); next != connections_.end();) {
    const auto connection = (next++)->second;
    connection->on_tick(now);
  }
}

}  // namespace extprocd::transport::h2
