#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/wire/encoder.h"

namespace google::protobuf {
class Struct;
class Value;
}  // namespace google::protobuf

namespace extprocd::wire {

/// A google.protobuf.Value: null, a bool, a number, a string, a list or a struct. A tree of its own instead of
/// protobuf's, whose maps have no order and no place to point at.
struct Value {
  struct Member;
  using List = std::vector<Value>;
  using Struct = std::vector<Member>;  ///< sorted by key, each key once

  std::variant<std::monostate, bool, double, std::string, List, Struct> data;

  /// Entries of a list or a struct; 0 for others.
  [[nodiscard]] std::size_t size() const;
  /// The value under a key of a struct; null if there is none.
  [[nodiscard]] const Value* find(std::string_view key) const;

  friend bool operator==(const Value&, const Value&) = default;
};

struct Value::Member {
  std::string key;
  Value value;

  friend bool operator==(const Member&, const Member&) = default;
};

/// A copy of what protobuf parsed. A value of no kind is null.
[[nodiscard]] Value to_value(const google::protobuf::Value& value);
[[nodiscard]] Value to_value(const google::protobuf::Struct& object);

/// Puts the one field of google.protobuf.Value that `value` has. All texts in it must be UTF-8.
void put_value(Encoder& out, const Value& value);

}  // namespace extprocd::wire
