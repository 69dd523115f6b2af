#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

namespace extprocd::wire {

/// Dynamic metadata to be sent with a reply: namespace -> key -> value, and typed, namespace -> a message of any type. A
/// value type; to undo, assign a copy made before, which costs no more than a pointer.
class DynamicMetadata {
 public:
  /// Of names and encoded values together, in bytes.
  static constexpr std::size_t kMaxSize = std::size_t{64} * 1024;

  // Setting copies what it is given, and a later set of the same key wins. Nothing is changed by one that is refused:
  // INVALID_ARGUMENT where a name is empty or anything is not UTF-8, RESOURCE_EXHAUSTED over kMaxSize.

  [[nodiscard]] absl::Status set(std::string_view name_space, std::string_view key,
                                 std::variant<std::string_view, double, bool> value);
  /// Any value, as JSON; refused also as parse_json() refuses, and if the text is longer than kMaxSize.
  [[nodiscard]] absl::Status set_json(std::string_view name_space, std::string_view key,
                                      std::string_view json);
  /// A message of the type that `type_url` names ("type.googleapis.com/google.protobuf.Duration"); a namespace has one.
  [[nodiscard]] absl::Status set_typed(std::string_view name_space, std::string_view type_url,
                                       std::string_view message);

  /// Takes back what was set under a key; without a key all of the namespace, typed too. False if there was nothing.
  bool remove(std::string_view name_space, std::string_view key);

  /// The same, with nothing in common: for another thread. (Copies share what they have until one is changed.)
  [[nodiscard]] DynamicMetadata detached() const;

  [[nodiscard]] bool empty() const { return state_ == nullptr; }
  void clear() { state_.reset(); }

  /// The encoded google.protobuf.Struct for ProcessingResponse.dynamic_metadata (Extras::dynamic_metadata):
  /// Envoy takes its keys for namespaces and wants a struct in each. Empty if nothing was set.
  [[nodiscard]] std::string encode() const;
  /// The encoded field ProcessingResponse.typed_dynamic_metadata, one entry behind the other
  /// (Extras::typed_dynamic_metadata). Empty if nothing was set.
  [[nodiscard]] std::string encode_typed() const;

 private:
  struct State;

  absl::Status put(std::string_view name_space, std::string_view key, std::string value);
  State& own();

  std::shared_ptr<State>
      state_;  // null while nothing is set; copied before it is changed if a copy shares it
};

}  // namespace extprocd::wire
