#include "core/config/match_reader.h"

#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace extprocd::config {
namespace {

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

enum class Case { kKeep, kLower };

/// A string or an array of strings, as patterns. Empty ones are mistakes: they would fit nothing or, as lists,
/// everything.
TextPatterns patterns(TableReader& table, std::string_view key, Case letters) {
  std::vector<std::string> texts;
  table.get_list(key, texts);
  TextPatterns result;
  if (const Value* value = table.table().find(key)) {
    const auto* array = std::get_if<Value::Array>(&value->data);
    if (array != nullptr && array->empty())
      table.error(key, "must not be empty: leave the key out to match anything");
  }
  for (const std::string& text : texts) {
    if (text.empty()) {
      table.error(key, "must not have empty texts");
    } else {
      result.push_back(TextPattern::parse(letters == Case::kLower ? lower(text) : text));
    }
  }
  return result;
}

/// A table of names, each with a string or an array of strings.
std::vector<NamedPatterns> named(TableReader& parent, std::string_view key, Case letters) {
  const Value* value = parent.take_table(key);
  if (value == nullptr) return {};
  TableReader table = parent.below(key, *value);
  std::vector<NamedPatterns> result;
  for (const auto& [name, unused] : std::get<Value::Table>(value->data)) {
    std::string spelled = letters == Case::kLower ? lower(name) : name;
    for (const NamedPatterns& other : result) {
      if (other.name == spelled) table.error(name, "is given twice, in other letters");
    }
    result.push_back({std::move(spelled), patterns(table, name, Case::kKeep)});
  }
  if (result.empty()) parent.error(key, "must not be empty: leave the key out to match anything");
  return result;
}

void read_path(TableReader& table, TextPatterns& path) {
  path = patterns(table, "path", Case::kKeep);
  for (TextPattern& prefix : patterns(table, "path_prefix", Case::kKeep)) {
    prefix.text = prefix.to_string();  // a star is an ordinary character here
    prefix.kind = TextPattern::Kind::kPrefix;
    path.push_back(std::move(prefix));
  }
  for (const TextPattern& pattern : path) {
    const bool from_start = pattern.kind != TextPattern::Kind::kSuffix && !pattern.text.empty();
    if (from_start && pattern.text[0] != '/') {
      table.error(table.table().find("path") != nullptr ? "path" : "path_prefix", "must begin with '/'");
    }
    if (pattern.text.find('?') != std::string::npos) {
      table.error(table.table().find("path") != nullptr ? "path" : "path_prefix",
                  "must not have a query: paths are compared without it");
    }
  }
}

void read_headers(TableReader& table, std::vector<NamedPatterns>& header) {
  header = named(table, "header", Case::kLower);
  for (const NamedPatterns& entry : header) {
    if (entry.name.starts_with(':') || entry.name == "host") {
      table.error("header", "must not have '" + entry.name + "': use authority, path, path_prefix or method");
    }
  }
}

std::optional<uint32_t> number(std::string_view text) {
  uint32_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

/// 404, "404", "4xx" or "500-503".
std::optional<StatusRange> status_range(const Value& value) {
  if (const auto* whole = std::get_if<int64_t>(&value.data)) {
    if (*whole < 100 || *whole > 599) return std::nullopt;
    return StatusRange{static_cast<uint32_t>(*whole), static_cast<uint32_t>(*whole)};
  }
  const auto* text = std::get_if<std::string>(&value.data);
  if (text == nullptr) return std::nullopt;
  if (text->size() == 3 && text->ends_with("xx") && (*text)[0] >= '1' && (*text)[0] <= '5') {
    const auto hundred = static_cast<uint32_t>((*text)[0] - '0') * 100;
    return StatusRange{hundred, hundred + 99};
  }
  const std::size_t dash = text->find('-');
  const auto least = number(std::string_view(*text).substr(0, dash));
  const auto most = dash == std::string::npos ? least : number(std::string_view(*text).substr(dash + 1));
  if (!least || !most || *least < 100 || *most > 599 || *least > *most) return std::nullopt;
  return StatusRange{*least, *most};
}

std::vector<StatusRange> read_statuses(TableReader& table) {
  const Value* value = table.take("status");
  if (value == nullptr) return {};
  std::vector<StatusRange> ranges;
  const auto take = [&](const Value& entry) {
    if (const auto range = status_range(entry)) {
      ranges.push_back(*range);
    } else {
      table.error("status",
                  R"(must be statuses from 100 to 599: 404, "4xx" or "500-503", or an array of them)");
    }
  };
  if (const auto* array = std::get_if<Value::Array>(&value->data)) {
    for (const Value& entry : *array) take(entry);
    if (array->empty()) table.error("status", "must not be empty: leave the key out to match anything");
  } else {
    take(*value);
  }
  return ranges;
}

}  // namespace

void read_match(TableReader& table, RequestMatch& match) {
  match.authority = patterns(table, "authority", Case::kLower);
  read_path(table, match.path);
  match.method = patterns(table, "method", Case::kKeep);
  read_headers(table, match.header);
  match.metadata = named(table, "metadata", Case::kLower);
  match.attribute = named(table, "attribute", Case::kKeep);
}

void read_when(TableReader& table, When& when) {
  read_path(table, when.request.path);
  when.request.method = patterns(table, "method", Case::kKeep);
  read_headers(table, when.request.header);
  when.status = read_statuses(table);
  when.content_type = patterns(table, "content_type", Case::kLower);
}

}  // namespace extprocd::config
