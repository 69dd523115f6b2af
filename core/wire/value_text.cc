#include "core/wire/value_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>

#include <google/protobuf/struct.pb.h>

namespace extprocd::wire {
namespace {

using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

// Up to here every whole number is exact in a double.
constexpr double kExactIntegers = 9007199254740992.0;

std::string number_text(double number) {
  std::array<char, 32> text{};
  char* const end = text.data() + text.size();
  const bool whole = std::trunc(number) == number && std::fabs(number) <= kExactIntegers;
  const auto result = whole ? std::to_chars(text.data(), end, static_cast<int64_t>(number))
                            : std::to_chars(text.data(), end, number);
  return {text.data(), result.ptr};
}

void append_json_text(std::string_view text, std::string& json) {
  constexpr std::string_view kHex = "0123456789abcdef";
  json += '"';
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (byte < 0x20) {
      json += "\\u00";
      json += kHex[byte >> 4];
      json += kHex[byte & 0xF];
    } else {
      json += c;
    }
  }
  json += '"';
}

void append_json(const Value& value, std::string& json);

void append_json(const Struct& object, std::string& json) {
  std::map<std::string_view, const Value*> sorted;
  for (const auto& [key, value] : object.fields()) sorted.emplace(key, &value);
  json += '{';
  for (std::string_view separator; const auto& [key, value] : sorted) {
    json += separator;
    append_json_text(key, json);
    json += ':';
    append_json(*value, json);
    separator = ",";
  }
  json += '}';
}

void append_json(const ListValue& list, std::string& json) {
  json += '[';
  for (std::string_view separator; const Value& value : list.values()) {
    json += separator;
    append_json(value, json);
    separator = ",";
  }
  json += ']';
}

void append_json(const Value& value, std::string& json) {
  switch (value.kind_case()) {
    case Value::kNumberValue:
      json += std::isfinite(value.number_value()) ? number_text(value.number_value()) : "null";
      return;
    case Value::kStringValue:
      append_json_text(value.string_value(), json);
      return;
    case Value::kBoolValue:
      json += value.bool_value() ? "true" : "false";
      return;
    case Value::kStructValue:
      append_json(value.struct_value(), json);
      return;
    case Value::kListValue:
      append_json(value.list_value(), json);
      return;
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      json += "null";
      return;
  }
}

}  // namespace

std::string to_text(const Value& value) {
  if (value.kind_case() == Value::kStringValue) return value.string_value();
  if (value.kind_case() == Value::kNumberValue) return number_text(value.number_value());
  std::string json;
  append_json(value, json);
  return json;
}

std::string to_json(const Struct& object) {
  std::string json;
  append_json(object, json);
  return json;
}

}  // namespace extprocd::wire
