#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/engine/seam.h"

namespace extprocd::transport {

/// Which stream factory serves which method. Filled before a transport starts; then read by all its threads.
class Services {
 public:
  static constexpr std::string_view kProcess = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

  /// `path` is the HTTP/2 path: "/package.Service/Method".
  void add(std::string path, std::unique_ptr<engine::StreamFactory> factory) {
    factories_[std::move(path)] = std::move(factory);
  }
  /// The factory of a path; null: the transport answers UNIMPLEMENTED.
  [[nodiscard]] engine::StreamFactory* find(std::string_view path) const {
    const auto found = factories_.find(path);
    return found == factories_.end() ? nullptr : found->second.get();
  }

  /// `end` ends a service's streams that would else stay open for as long as their clients like (health
  /// watches).
  void add_long_lived(std::function<void()> end) { ends_.push_back(std::move(end)); }
  /// For a transport that begins to drain: ends the long-lived streams, of all transports. Any thread.
  void end_long_lived() const {
    for (const auto& end : ends_) end();
  }

 private:
  std::map<std::string, std::unique_ptr<engine::StreamFactory>, std::less<>> factories_;
  std::vector<std::function<void()>> ends_;
};

}  // namespace extprocd::transport
