#include "core/config/table_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/config/nearest.h"
#include "core/config/quantity.h"

namespace extprocd::config {
namespace {

std::string_view type_name(const Value& value) {
  static constexpr std::array<std::string_view, 6> kNames = {"a boolean", "an integer", "a float",
                                                             "a string",  "an array",   "a table"};
  return kNames[value.data.index()];
}

}  // namespace

TableReader::TableReader(const Value& table, std::string path, const std::string& file,
                         std::vector<Diagnostic>& errors)
    : table_(table), path_(std::move(path)), file_(file), errors_(errors) {}

std::string TableReader::full_name(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const Value* TableReader::take(std::string_view key) {
  known_.emplace_back(key);
  return table_.find(key);
}

const Value* TableReader::take_table(std::string_view key) {
  const Value* value = take(key);
  if (value == nullptr || std::holds_alternative<Value::Table>(value->data)) return value;
  wrong_type(key, *value, "a table");
  return nullptr;
}

void TableReader::error(std::string_view key, std::string text) {
  const Value* value = table_.find(key);
  errors_.push_back(
      {file_, value != nullptr ? value->position : table_.position, full_name(key) + " " + std::move(text)});
}

void TableReader::wrong_type(std::string_view key, const Value& value, std::string_view wanted) {
  error(key, "must be " + std::string(wanted) + ", not " + std::string(type_name(value)));
}

void TableReader::get(std::string_view key, bool& target) {
  const Value* value = take(key);
  if (value == nullptr) return;
  if (const auto* flag = std::get_if<bool>(&value->data)) {
    target = *flag;
  } else {
    wrong_type(key, *value, "a boolean");
  }
}

void TableReader::get(std::string_view key, std::string& target) {
  const Value* value = take(key);
  if (value == nullptr) return;
  if (const auto* text = std::get_if<std::string>(&value->data)) {
    target = *text;
  } else {
    wrong_type(key, *value, "a string");
  }
}

void TableReader::get(std::string_view key, std::vector<std::string>& target) {
  const Value* value = take(key);
  if (value == nullptr) return;
  const auto* array = std::get_if<Value::Array>(&value->data);
  if (array == nullptr) {
    wrong_type(key, *value, "an array of strings");
    return;
  }
  std::vector<std::string> texts;
  for (const Value& entry : *array) {
    if (const auto* text = std::get_if<std::string>(&entry.data)) {
      texts.push_back(*text);
    } else {
      errors_.push_back({file_, entry.position,
                         full_name(key) + " must have only strings, not " + std::string(type_name(entry))});
    }
  }
  target = std::move(texts);
}

void TableReader::get(std::string_view key, uint32_t& target, uint32_t least, uint32_t most) {
  const Value* value = take(key);
  if (value == nullptr) return;
  const auto* number = std::get_if<int64_t>(&value->data);
  if (number == nullptr) {
    wrong_type(key, *value, "a whole number");
  } else if (*number < least || *number > most) {
    error(key, "must be from " + std::to_string(least) + " to " + std::to_string(most) + ", not " +
                   std::to_string(*number));
  } else {
    target = static_cast<uint32_t>(*number);
  }
}

void TableReader::get_size(std::string_view key, uint64_t& target, uint64_t least, uint64_t most) {
  const Value* value = take(key);
  if (value == nullptr) return;
  std::optional<uint64_t> bytes;
  if (const auto* number = std::get_if<int64_t>(&value->data); number != nullptr && *number >= 0) {
    bytes = static_cast<uint64_t>(*number);
  } else if (const auto* text = std::get_if<std::string>(&value->data)) {
    bytes = parse_size(*text);
  }
  if (!bytes) {
    error(key, "must be a size: bytes, or text such as \"64MiB\"");
  } else if (*bytes < least || *bytes > most) {
    error(key, "must be from " + std::to_string(least) + " to " + std::to_string(most) + " bytes");
  } else {
    target = *bytes;
  }
}

void TableReader::get_duration(std::string_view key, double& target, double most) {
  const Value* value = take(key);
  if (value == nullptr) return;
  std::optional<double> seconds;
  if (const auto* whole = std::get_if<int64_t>(&value->data)) {
    seconds = static_cast<double>(*whole);
  } else if (const auto* real = std::get_if<double>(&value->data)) {
    seconds = *real;
  } else if (const auto* text = std::get_if<std::string>(&value->data)) {
    seconds = parse_duration(*text);
  }
  if (seconds && *seconds >= 0 && *seconds <= most) {
    target = *seconds;
  } else {
    error(key, "must be a duration of at most " + std::to_string(static_cast<int>(most)) +
                   " s: seconds, or text such as \"500ms\"");
  }
}

void TableReader::report_unknown() {
  for (const auto& [key, value] : std::get<Value::Table>(table_.data)) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string_view near = nearest(key, known_);
    std::string text = "unknown key '" + full_name(key) + "'";
    if (!near.empty()) text += "; did you mean '" + std::string(near) + "'?";
    errors_.push_back({file_, value.position, std::move(text)});
  }
}

}  // namespace extprocd::config
