#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

#include "core/telemetry/metrics.h"
#include "core/transport/h2/options.h"
#include "core/transport/services.h"

namespace extprocd::transport::h2 {

/// What the loops of a server share. Any thread.
struct Shared {
  Shared(const Services& all, const H2Options& given)
      : services(all), process(all.find(Services::kProcess)), options(given) {}

  const Services& services;
  engine::StreamFactory* const process;  ///< the one that is nearly always meant
  const H2Options options;
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> streams{0};
  std::atomic<std::size_t> cancelled{0};  ///< streams, by the drain's deadline

  void count(telemetry::Limit limit) const {
    if (options.metrics != nullptr) options.metrics->limits[static_cast<std::size_t>(limit)]->add();
  }

  void stream_over() {
    if (streams.fetch_sub(1) == 1) tell();
  }
  void connection_over() {
    if (connections.fetch_sub(1) == 1) tell();
  }
  /// From now on wait_until() is told of the last stream and the last connection.
  void begin_drain() { draining_ = true; }
  /// Waits until one of the two counts is 0; false if the time is over before.
  bool wait_until(const std::atomic<std::size_t>& count, std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex_);
    return gone_.wait_until(lock, end, [&count] { return count.load() == 0; });
  }

 private:
  void tell() {
    if (!draining_.load()) return;
    const std::lock_guard lock(mutex_);
    gone_.notify_all();
  }

  std::atomic<bool> draining_{false};
  std::mutex mutex_;
  std::condition_variable gone_;
};

}  // namespace extprocd::transport::h2
