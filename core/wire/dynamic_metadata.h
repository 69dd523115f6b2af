#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace extprocd::wire {

/// Dynamic metadata to be sent with a reply: namespace -> key -> value. A value type; to undo, assign a copy
/// made before.
class DynamicMetadata {
 public:
  /// A later set of the same key wins. False, and nothing is changed, if the namespace or the key is empty or
  /// anything is not UTF-8. Copies what it is given.
  [[nodiscard]] bool set(std::string_view name_space, std::string_view key,
                         std::variant<std::string_view, double, bool> value);

  [[nodiscard]] bool empty() const { return namespaces_.empty(); }
  void clear() { namespaces_.clear(); }

  /// The encoded google.protobuf.Struct for ProcessingResponse.dynamic_metadata (Extras::dynamic_metadata):
  /// Envoy takes its keys for namespaces and wants a struct in each. Empty if nothing was set.
  [[nodiscard]] std::string encode() const;

 private:
  using Value = std::variant<std::string, double, bool>;
  struct Entry {
    std::string key;
    Value value;
  };
  struct Namespace {
    std::string name;
    std::vector<Entry> entries;
  };

  std::vector<Namespace> namespaces_;  // a handful: searched in order
};

}  // namespace extprocd::wire
