#include "core/wire/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-align"
#include <boost/json/basic_parser_impl.hpp>
#pragma GCC diagnostic pop

namespace extprocd::wire {
namespace {

namespace json = boost::json;

/// Builds the tree out of the parser's events.
class TreeHandler {
 public:
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  Value root;
  std::string refusal;  ///< why the handler stopped the parser

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool on_array_begin(json::error_code&) { return open(Value::List()); }
  bool on_array_end(std::size_t, json::error_code&) { return close(); }
  bool on_object_begin(json::error_code&) { return open(Value::Struct()); }
  bool on_object_end(std::size_t, json::error_code& error) {
    auto& members = std::get<Value::Struct>(open_.back().value.data);
    std::ranges::sort(members, {}, &Value::Member::key);
    const auto twice = std::ranges::adjacent_find(members, {}, &Value::Member::key);
    if (twice == members.end()) return close();
    return refuse(absl::StrCat("the key '", twice->key.substr(0, 100), "' comes twice in an object"), error);
  }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) { return gather(part); }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    gather(part);
    open_.back().key = std::exchange(text_, {});
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) { return gather(part); }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    gather(part);
    return take({std::exchange(text_, {})});
  }
  bool on_number_part(json::string_view part, json::error_code&) { return gather(part); }
  bool on_int64(int64_t value, json::string_view part, json::error_code& error) {
    return number(static_cast<double>(value), part, error);
  }
  bool on_uint64(uint64_t value, json::string_view part, json::error_code& error) {
    return number(static_cast<double>(value), part, error);
  }
  bool on_double(double value, json::string_view part, json::error_code& error) {
    return number(value, part, error);
  }
  bool on_bool(bool value, json::error_code&) { return take({value}); }
  bool on_null(json::error_code&) { return take({}); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  /// A list or struct that has not ended, and in a struct the key of the value that comes next.
  struct Open {
    Value value;
    std::string key;
  };

  bool gather(json::string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }

  template <typename Container>
  bool open(Container empty) {
    open_.push_back({{std::move(empty)}, {}});
    return true;
  }
  bool close() {
    Value value = std::move(open_.back().value);
    open_.pop_back();
    return take(std::move(value));
  }

  bool take(Value value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (auto* list = std::get_if<Value::List>(&open_.back().value.data)) {
      list->push_back(std::move(value));
    } else {
      auto& members = std::get<Value::Struct>(open_.back().value.data);
      members.push_back({std::move(open_.back().key), std::move(value)});
    }
    return true;
  }

  /// Boost.JSON's own double may be off by its last bit.
  bool number(double near, json::string_view part, json::error_code& error) {
    gather(part);
    const std::string text = std::exchange(text_, {});
    double exact = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), exact);
    if (read.ec == std::errc()) return take({exact});
    if (std::fabs(near) < 1) return take({std::copysign(0.0, near)});  // too small for a double
    return refuse("a number that is too large for a double", error);
  }

  bool refuse(std::string why, json::error_code& error) {
    refusal = std::move(why);
    error = json::error::exception;
    return false;
  }

  std::vector<Open> open_;
  std::string text_;  // of the string, key or number that is being read
};

}  // namespace

absl::StatusOr<Value> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxValueDepth;
  json::basic_parser<TreeHandler> parser(options);
  json::error_code error;
  std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && read < text.size()) error = json::error::extra_data;
  TreeHandler& handler = parser.handler();
  if (!error) return std::move(handler.root);
  if (error == json::error::too_deep) {
    return absl::ResourceExhaustedError(
        absl::StrCat("JSON nested deeper than ", kMaxValueDepth, " at byte ", read));
  }
  const std::string what = handler.refusal.empty() ? error.message() : handler.refusal;
  return absl::InvalidArgumentError(absl::StrCat("not valid JSON: ", what, " at byte ", read));
}

}  // namespace extprocd::wire
