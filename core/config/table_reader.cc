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

std::string seconds_text(double seconds) {
  return seconds < 1 ? std::to_string(static_cast<int>(seconds * 1000)) + " ms"
                     : std::to_string(static_cast<int>(seconds)) + " s";
}

bool is_name(std::string_view text) {
  constexpr std::size_t kLongest = 64;
  return !text.empty() && text.size() <= kLongest && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
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

void TableReader::get_list(std::string_view key, std::vector<std::string>& target) {
  const Value* value = table_.find(key);
  if (value == nullptr || !std::holds_alternative<std::string>(value->data)) return get(key, target);
  std::string text;
  get(key, text);
  target = {std::move(text)};
}

void TableReader::get(std::string_view key, std::string& target, std::span<const std::string_view> words) {
  const Value* value = take(key);
  if (value == nullptr) return;
  const auto* text = std::get_if<std::string>(&value->data);
  if (text == nullptr) {
    wrong_type(key, *value, "a string");
  } else if (std::find(words.begin(), words.end(), *text) != words.end()) {
    target = *text;
  } else {
    std::string list;
    for (const std::string_view word : words) list += (list.empty() ? "" : ", ") + std::string(word);
    error(key, "must be one of " + list + ", not '" + *text + "'");
  }
}

void TableReader::get(std::string_view key, FailurePolicy& target) {
  static constexpr std::array<std::string_view, 3> kWords = {"fail", "deny", "skip"};
  std::string word(to_string(target));
  get(key, word, kWords);
  target = word == "deny"   ? FailurePolicy::kDeny
           : word == "skip" ? FailurePolicy::kSkip
                            : FailurePolicy::kFail;
}

void TableReader::get_name(std::string_view what, std::string& target,
                           const std::function<bool(const std::string&)>& taken) {
  get("name", target);
  const std::string entry = "[[" + std::string(what) + "]]";
  if (table_.find("name") == nullptr) {
    error("name", "is missing: give each " + entry + " a name of its own");
  } else if (!is_name(target)) {
    error("name", "must be 1 to 64 of letters, digits, '_', '.' and '-'");
  } else if (taken(target)) {
    error("name", "'" + target + "' is taken by an earlier " + entry);
  }
}

std::vector<const Value*> TableReader::take_tables(std::string_view key) {
  const Value* value = take(key);
  if (value == nullptr) return {};
  const auto* array = std::get_if<Value::Array>(&value->data);
  if (array == nullptr) {
    error(key, "must be written as [[" + full_name(key) + "]], one table for each");
    return {};
  }
  std::vector<const Value*> tables;
  for (const Value& entry : *array) {
    if (std::holds_alternative<Value::Table>(entry.data)) {
      tables.push_back(&entry);
    } else {
      errors_.push_back({file_, entry.position, full_name(key) + " must have only tables"});
    }
  }
  return tables;
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

void TableReader::get_duration(std::string_view key, double& target, double least, double most) {
  read_duration(key, target, least, most, /*zero_is_off=*/false);
}

void TableReader::get_duration_or_off(std::string_view key, double& target, double least, double most) {
  read_duration(key, target, least, most, /*zero_is_off=*/true);
}

void TableReader::read_duration(std::string_view key, double& target, double least, double most,
                                bool zero_is_off) {
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
  const bool off = zero_is_off && seconds == 0.0;
  if (seconds && (off || (*seconds >= least && *seconds <= most))) {
    target = *seconds;
  } else {
    error(key, "must be a duration of " + (least > 0 ? "at least " + seconds_text(least) + " and " : "") +
                   "at most " + seconds_text(most) + (zero_is_off ? ", or 0 for none" : "") +
                   ": seconds, or text such as \"500ms\"");
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
