#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

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

 private:
  std::map<std::string, std::unique_ptr<engine::StreamFactory>, std::less<>> factories_;
};

}  // namespace extprocd::transport
