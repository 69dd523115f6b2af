#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace extprocd::transport {

/// What gRPC makes of what TCP connections send, by peer: it does not say which connection a stream belongs to.
/// Any thread.
class Traffic {
 public:
  /// Of one connection.
  struct Events {
    /// How many streams and messages have come out of it.
    std::atomic<uint64_t> count{0};
    /// How many of its streams are not read from for now, so that nothing can come of what they are sent.
    std::atomic<uint64_t> unread{0};
  };

  /// A connection was accepted; one with the same peer before it is gone.
  std::shared_ptr<Events> begin(const std::string& peer) {
    auto events = std::make_shared<Events>();
    const std::lock_guard lock(mutex_);
    connections_[peer] = events;
    return events;
  }
  /// A connection is gone, which began with these.
  void end(const std::string& peer, const std::shared_ptr<Events>& events) {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(peer);
    if (found != connections_.end() && found->second == events) connections_.erase(found);
  }
  /// Null for connections that are not looked at.
  std::shared_ptr<Events> find(const std::string& peer) {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(peer);
    return found == connections_.end() ? nullptr : found->second;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Events>> connections_;
};

}  // namespace extprocd::transport
