#include "plugins/instructions/document.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-align"
#include <boost/json/basic_parser_impl.hpp>
#pragma GCC diagnostic pop

namespace instructions {
namespace {

namespace json = boost::json;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// Nesting serves only fields that are ignored; each level costs stack.
constexpr std::size_t kMaxDepth = 1000;

// ---- What Go takes and Boost.JSON refuses, mended beforehand ----

/// Length of the well-formed UTF-8 sequence at the front of a text that is not empty; 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2U
                             : first >= 0xe0 && first < 0xf0 ? 3U
                             : first >= 0xf0 && first < 0xf5 ? 4U
                                                             : 0U;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return length;
}

/// The number of a "\uXXXX" at the front; -1 if there is none.
int escape_at(std::string_view text) {
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return -1;
  int value = 0;
  for (const char c : text.substr(2, 4)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

bool is_high(int unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool is_low(int unit) { return unit >= 0xdc00 && unit < 0xe000; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The text as Boost.JSON takes it, byte for byte as long: lone surrogate escapes become that of U+FFFD, and
/// the digits of exponents become 0, because no number's value matters and a huge exponent would be refused.
/// Bytes that are not UTF-8 are left to repaired(): outside of strings they are errors in any case.
std::string mended(std::string_view text) {
  std::string out(text);
  bool in_string = false;
  bool in_exponent = false;
  for (std::size_t i = 0; i < out.size();) {
    std::size_t take = 1;
    const char c = out[i];
    if (c == '"') {
      in_string = !in_string;
      in_exponent = false;
    } else if (in_string && c == '\\') {
      const int unit = escape_at(text.substr(i));
      const bool pair = is_high(unit) && is_low(escape_at(text.substr(i + 6)));
      if (!pair && (is_high(unit) || is_low(unit))) out.replace(i, 6, "\\ufffd");
      take = pair ? 12 : unit >= 0 ? 6 : 2;
    } else if (!in_string) {
      if (in_exponent && is_digit(c)) out[i] = '0';
      in_exponent = c == 'e' || c == 'E' || (in_exponent && (is_digit(c) || c == '+' || c == '-'));
    }
    i += take;
  }
  return out;
}

/// The text with each byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string repaired(std::string text) {
  std::size_t good = 0;
  while (good < text.size()) {
    const std::size_t length = sequence_length(std::string_view(text).substr(good));
    if (length == 0) break;
    good += length;
  }
  if (good == text.size()) return text;
  std::string out = text.substr(0, good);
  for (std::string_view rest = std::string_view(text).substr(good); !rest.empty();) {
    const std::size_t length = sequence_length(rest);
    out += length == 0 ? kReplacement : rest.substr(0, length);
    rest.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

// ---- Fields ----

enum class Field : uint8_t { kUnknown, kAddHeaders, kRemoveHeaders, kSetBody, kSetTrailers };

/// Lower case as far as it makes two names equal in Go: ASCII, the Kelvin sign and the long s.
std::string folded(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    if (name.substr(0, 3) == "\xE2\x84\xAA") {
      out += 'k';
      name.remove_prefix(3);
    } else if (name.substr(0, 2) == "\xC5\xBF") {
      out += 's';
      name.remove_prefix(2);
    } else {
      const char c = name.front();
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      name.remove_prefix(1);
    }
  }
  return out;
}

Field field_of(std::string_view name) {
  const std::string key = folded(name);
  if (key == "addheaders") return Field::kAddHeaders;
  if (key == "removeheaders") return Field::kRemoveHeaders;
  if (key == "setbody") return Field::kSetBody;
  if (key == "settrailers") return Field::kSetTrailers;
  return Field::kUnknown;
}

/// A Go map that is read again and again, with the names in order of first appearance.
class PairMap {
 public:
  void put(const std::string& name, std::string value) {
    const std::size_t at = find(name);
    if (at < pairs_.size()) {
      pairs_[at].second = std::move(value);
      return;
    }
    pairs_.emplace_back(name, std::move(value));
    if (pairs_.size() == kFew) {
      for (std::size_t i = 0; i < kFew; ++i) index_.emplace(pairs_[i].first, i);
    } else if (pairs_.size() > kFew) {
      index_.emplace(name, at);
    }
  }
  void clear() {
    pairs_.clear();
    index_.clear();
  }
  Pairs take() { return std::move(pairs_); }

 private:
  static constexpr std::size_t kFew =
      16;  // from here on looking through them all would take longer than an index

  /// Where the name is; behind the last if it is not there.
  std::size_t find(const std::string& name) const {
    if (pairs_.size() >= kFew) {
      const auto found = index_.find(name);
      return found == index_.end() ? pairs_.size() : found->second;
    }
    std::size_t at = 0;
    while (at < pairs_.size() && pairs_[at].first != name) ++at;
    return at;
  }

  Pairs pairs_;
  std::unordered_map<std::string, std::size_t> index_;  // empty while there are few
};

/// A Go slice that is read again and again: an array begins at the front and cuts off what it does not reach,
/// but what lies behind the cut is still there when a later array puts a null on it.
class NameSlice {
 public:
  void begin() { size_ = 0; }
  std::string& next() {
    if (size_ == names_.size()) names_.emplace_back();
    return names_[size_++];
  }
  void end() {
    if (size_ == 0) names_.clear();
  }
  void clear() {
    size_ = 0;
    names_.clear();
  }
  std::vector<std::string> take() {
    names_.resize(size_);
    return std::move(names_);
  }

 private:
  std::vector<std::string> names_;
  std::size_t size_ = 0;
};

/// Takes the parser's events. A value of the wrong type is remembered and reading goes on, as in Go: bad
/// syntax further on is the more important error.
class Handler {
 public:
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  PairMap add_headers;
  PairMap set_trailers;
  NameSlice remove_headers;
  std::string set_body;
  std::string type_error;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool on_object_begin(json::error_code&) {
    if (depth_ == 1 && (field_ == Field::kRemoveHeaders || field_ == Field::kSetBody)) wrong_type();
    if (depth_ == 2) wrong_type();
    ++depth_;
    return true;
  }
  bool on_object_end(std::size_t, json::error_code&) { return leave(); }

  bool on_array_begin(json::error_code&) {
    if (depth_ == 0) type_error = "the document must be an object";
    if (depth_ == 1 && field_ != Field::kRemoveHeaders) wrong_type();
    if (depth_ == 2) wrong_type();
    if (depth_ == 1 && field_ == Field::kRemoveHeaders) remove_headers.begin();
    in_array_ = in_array_ || depth_ == 1;
    ++depth_;
    return true;
  }
  bool on_array_end(std::size_t, json::error_code&) {
    if (depth_ == 2 && field_ == Field::kRemoveHeaders) remove_headers.end();
    return leave();
  }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    std::string key = repaired(std::exchange(text_, {}));
    if (depth_ == 1) field_ = field_of(key);
    if (depth_ == 2) name_ = std::move(key);
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    take_string(repaired(std::exchange(text_, {})));
    return true;
  }

  bool on_null(json::error_code&) {
    if (depth_ == 1) {
      if (field_ == Field::kAddHeaders) add_headers.clear();
      if (field_ == Field::kSetTrailers) set_trailers.clear();
      if (field_ == Field::kRemoveHeaders) remove_headers.clear();
    } else if (depth_ == 2 && in_array_) {
      if (field_ == Field::kRemoveHeaders)
        remove_headers.next();  // keeps what a repeated field left there, as Go does
    } else if (depth_ == 2) {
      take_string({});
    }
    return true;
  }

  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t, json::string_view, json::error_code&) { return other_scalar(); }
  bool on_uint64(uint64_t, json::string_view, json::error_code&) { return other_scalar(); }
  bool on_double(double, json::string_view, json::error_code&) { return other_scalar(); }
  bool on_bool(bool, json::error_code&) { return other_scalar(); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  bool leave() {
    --depth_;
    if (depth_ == 1) in_array_ = false;
    return true;
  }

  void take_string(std::string text) {
    if (depth_ == 0) {
      type_error = "the document must be an object";
    } else if (depth_ == 1) {
      if (field_ == Field::kSetBody) {
        set_body = std::move(text);
      } else {
        wrong_type();
      }
    } else if (depth_ == 2 && in_array_) {
      if (field_ == Field::kRemoveHeaders) remove_headers.next() = std::move(text);
    } else if (depth_ == 2) {
      if (field_ == Field::kAddHeaders) add_headers.put(name_, std::move(text));
      if (field_ == Field::kSetTrailers) set_trailers.put(name_, std::move(text));
    }
  }

  bool other_scalar() {
    if (depth_ == 0) type_error = "the document must be an object";
    if (depth_ == 1 || depth_ == 2) wrong_type();
    return true;
  }

  void wrong_type() {
    switch (field_) {
      case Field::kAddHeaders:
        type_error = "addHeaders must be an object of strings";
        break;
      case Field::kSetTrailers:
        type_error = "setTrailers must be an object of strings";
        break;
      case Field::kRemoveHeaders:
        type_error = "removeHeaders must be an array of strings";
        break;
      case Field::kSetBody:
        type_error = "setBody must be a string";
        break;
      case Field::kUnknown:
        break;
    }
  }

  std::size_t depth_ = 0;
  Field field_ = Field::kUnknown;
  bool in_array_ = false;  // the value of the field is an array
  std::string name_;
  std::string text_;
};

}  // namespace

Document parse(std::string_view text) {
  if (text.empty()) return {};
  const std::string input = mended(text);
  json::parse_options options;
  options.max_depth = kMaxDepth;
  options.allow_invalid_utf8 = true;
  json::basic_parser<Handler> parser(options);
  json::error_code error;
  std::size_t read = parser.write_some(false, input.data(), input.size(), error);
  if (!error && read < input.size()) error = json::error::extra_data;
  if (error) {
    throw BadDocument("instructions are not valid JSON: " + error.message() + " at byte " +
                      std::to_string(read));
  }
  Handler& handler = parser.handler();
  if (!handler.type_error.empty()) throw BadDocument("instructions: " + handler.type_error);
  return {handler.add_headers.take(), handler.remove_headers.take(), std::move(handler.set_body),
          handler.set_trailers.take()};
}

}  // namespace instructions
