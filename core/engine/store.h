#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace extprocd::engine {

/// Bytes by key that the plugins of one stream share. One thread at a time.
class Store {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{64} * 1024;  ///< of all keys and values together

  [[nodiscard]] std::optional<std::string_view> get(std::string_view key) const;
  /// False, and nothing is changed, if that would pass kMaxBytes.
  bool set(std::string_view key, std::string_view value);
  /// False if there was no such key.
  bool remove(std::string_view key);

 private:
  std::vector<std::pair<std::string, std::string>> entries_;  // few: a scan is faster than a hash
  std::size_t bytes_ = 0;
};

}  // namespace extprocd::engine
