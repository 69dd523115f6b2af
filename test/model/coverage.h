#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace extprocd::model {

/// What a run of cases has met, and how often: a property that holds for lack of cases proves nothing.
class Coverage {
 public:
  void saw(const std::string& what) { ++counts_[what]; }
  [[nodiscard]] std::size_t count(const std::string& what) const {
    const auto found = counts_.find(what);
    return found == counts_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const auto& [what, count] : counts_) all += std::to_string(count) + "  " + what + "\n";
    return all;
  }

 private:
  std::map<std::string, std::size_t> counts_;
};

}  // namespace extprocd::model
