#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace instructions {

/// Which header names instructions may touch.
class HeaderNames {
 public:
  /// Patterns are names, or prefixes ending in '*'; letters of either case. An empty `allow` allows all;
  /// `deny` wins.
  HeaderNames(const std::vector<std::string>& allow, const std::vector<std::string>& deny);

  [[nodiscard]] bool permits(std::string_view name) const;

 private:
  std::vector<std::string> allow_;
  std::vector<std::string> deny_;
};

}  // namespace instructions
