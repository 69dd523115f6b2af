#include "core/config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace extprocd::config {
namespace {

void append_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

template <typename Number>
void append_number(std::string& out, Number number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  out.append(text, end);
}

struct JsonWriter {
  std::string& out;

  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(int64_t value) const { append_number(out, value); }
  void operator()(double value) const {
    if (std::isfinite(value)) {
      append_number(out, value);
    } else {
      out += "null";
    }
  }
  void operator()(const std::string& value) const { append_string(out, value); }
  void operator()(const Value::Array& array) const {
    out += '[';
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (i > 0) out += ',';
      std::visit(*this, array[i].data);
    }
    out += ']';
  }
  void operator()(const Value::Table& table) const {
    out += '{';
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (i > 0) out += ',';
      append_string(out, table[i].first);
      out += ':';
      std::visit(*this, table[i].second.data);
    }
    out += '}';
  }
};

}  // namespace

const Value* Value::find(std::string_view key) const {
  const auto* table = std::get_if<Table>(&data);
  if (table == nullptr) return nullptr;
  const auto found =
      std::find_if(table->begin(), table->end(), [key](const auto& entry) { return entry.first == key; });
  return found == table->end() ? nullptr : &found->second;
}

std::string to_json(const Value& value) {
  std::string out;
  std::visit(JsonWriter{out}, value.data);
  return out;
}

Value merged(const Value& base, const Value& over) {
  const auto* under = std::get_if<Value::Table>(&base.data);
  const auto* upper = std::get_if<Value::Table>(&over.data);
  if (under == nullptr || upper == nullptr) return over;
  Value::Table table = *under;
  for (const auto& [key, value] : *upper) {
    const auto same =
        std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.first == key; });
    if (same == table.end()) {
      table.emplace_back(key, value);
    } else {
      same->second = merged(same->second, value);
    }
  }
  return {std::move(table), base.position};
}

}  // namespace extprocd::config
