#include "core/config/toml_value.h"

#include <algorithm>
#include <sstream>

#include <toml++/toml.h>

namespace extprocd::config {
namespace {

Position position_of(const toml::node& node) {
  const auto& begin = node.source().begin;
  return {static_cast<uint32_t>(begin.line), static_cast<uint32_t>(begin.column)};
}

Value to_value(const toml::node& node);

Value::Table to_table(const toml::table& source) {
  // toml++ sorts by name; the file's order is the one that means something to a reader.
  Value::Table table;
  for (const auto& [key, child] : source) {
    Value value = to_value(child);
    // A key's own place is what an error should point at; values of inline tables have the same line.
    const auto& begin = key.source().begin;
    if (begin.line != 0)
      value.position = {static_cast<uint32_t>(begin.line), static_cast<uint32_t>(begin.column)};
    table.emplace_back(std::string(key.str()), std::move(value));
  }
  std::sort(table.begin(), table.end(), [](const auto& a, const auto& b) {
    const Position& x = a.second.position;
    const Position& y = b.second.position;
    return std::pair(x.line, x.column) < std::pair(y.line, y.column);
  });
  return table;
}

template <typename Time>
std::string as_text(const Time& time) {
  std::ostringstream out;
  out << time;
  return out.str();
}

Value to_value(const toml::node& node) {
  Value value;
  value.position = position_of(node);
  node.visit([&value](const auto& typed) {
    using Node = std::decay_t<decltype(typed)>;
    if constexpr (std::is_same_v<Node, toml::table>) {
      value.data = to_table(typed);
    } else if constexpr (std::is_same_v<Node, toml::array>) {
      Value::Array array;
      for (const toml::node& entry : typed) array.push_back(to_value(entry));
      value.data = std::move(array);
    } else if constexpr (toml::is_date<Node> || toml::is_time<Node> || toml::is_date_time<Node>) {
      value.data = as_text(typed.get());
    } else {
      value.data = typed.get();
    }
  });
  return value;
}

}  // namespace

ParsedToml parse_toml(std::string_view text, const std::string& file) {
  ParsedToml result;
  try {
    const toml::table table = toml::parse(text, file);
    result.table.data = to_table(table);
    result.table.position = {1, 1};
    result.ok = true;
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    result.error = {file,
                    {static_cast<uint32_t>(begin.line), static_cast<uint32_t>(begin.column)},
                    "not valid TOML: " + std::string(error.description())};
  }
  return result;
}

}  // namespace extprocd::config
