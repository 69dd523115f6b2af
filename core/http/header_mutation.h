#pragma once

#include <string_view>
#include <vector>

namespace extprocd::http {

/// One header to set in the data plane.
struct SetHeader {
  std::string_view name;   ///< lower case
  std::string_view value;  ///< opaque bytes
  bool append = false;     ///< true: add one more value; false: replace all values, or add
};

/// The net change of one header map, in the order in which the data plane applies it: first all removals,
/// then the settings one after the other. A name never stands in both lists. Views are borrowed from the map
/// that made it.
struct HeaderMutation {
  std::vector<SetHeader> set;
  std::vector<std::string_view> remove;

  [[nodiscard]] bool empty() const { return set.empty() && remove.empty(); }
  void clear() {
    set.clear();
    remove.clear();
  }
};

}  // namespace extprocd::http
