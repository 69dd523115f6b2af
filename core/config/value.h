#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace extprocd::config {

/// A place in the configuration file, counted from 1; line 0 means none.
struct Position {
  uint32_t line = 0;
  uint32_t column = 0;
};

/// A value of a plugin's own configuration, with its place in the file. Immutable after loading.
struct Value {
  using Array = std::vector<Value>;
  using Table = std::vector<std::pair<std::string, Value>>;  // in file order

  std::variant<bool, int64_t, double, std::string, Array, Table> data = Table{};
  Position position;

  /// The value under `key`; null if this is no table or has no such key.
  [[nodiscard]] const Value* find(std::string_view key) const;
};

/// `base` with `over` laid on it: tables are merged key by key, everything else in `over` replaces what is there.
Value merged(const Value& base, const Value& over);

/// The value as JSON text. Not-a-number and infinities become null.
std::string to_json(const Value& value);

}  // namespace extprocd::config
