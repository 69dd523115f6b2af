#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {

/// What a value is. Numbers of a newer host may have no name here.
enum class ValueType : std::uint32_t {
  kNull = EXTPROC_VALUE_NULL,
  kBool = EXTPROC_VALUE_BOOL,
  kNumber = EXTPROC_VALUE_NUMBER,
  kString = EXTPROC_VALUE_STRING,
  kList = EXTPROC_VALUE_LIST,
  kStruct = EXTPROC_VALUE_STRUCT,
};

struct ValueEntry;

/// An attribute or a piece of dynamic metadata, read-only: null, bool, number, string, list or struct. What is not
/// there looks like null, so a path can be walked in one go: `roles["groups"].at(0).as_string()`.
///
/// [stream]: it, and all that it hands out, is valid until the end of the callback. Never throws.
class Value {
 public:
  class iterator;
  using const_iterator = iterator;

  /// Null.
  Value() noexcept = default;
  /// Made by the SDK.
  Value(const extproc_metadata_api_2* api, const extproc_value* value) noexcept : api_(api), value_(value) {}

  ValueType type() const noexcept {
    return api_ == nullptr ? ValueType::kNull : static_cast<ValueType>(api_->type(value_));
  }
  bool is_null() const noexcept { return type() == ValueType::kNull; }

  /// Nothing where the value is of another type.
  std::optional<bool> as_bool() const noexcept {
    std::uint32_t flag = 0;
    if (api_ == nullptr || api_->get_bool(value_, &flag) != EXTPROC_OK) return std::nullopt;
    return flag != 0;
  }
  std::optional<double> as_number() const noexcept {
    double number = 0;
    if (api_ == nullptr || api_->get_number(value_, &number) != EXTPROC_OK) return std::nullopt;
    return number;
  }
  std::optional<std::string_view> as_string() const noexcept {
    extproc_str text{};
    if (api_ == nullptr || api_->get_string(value_, &text) != EXTPROC_OK) return std::nullopt;
    return detail::from_abi(text);
  }

  /// Entries of a list or a struct; 0 for others.
  std::size_t size() const noexcept { return api_ == nullptr ? 0 : api_->size(value_); }
  /// An entry of a list, or of a struct in the order of its keys; null past the end.
  Value at(std::size_t index) const noexcept {
    return api_ == nullptr ? Value() : Value(api_, api_->at(value_, index, nullptr));
  }
  /// The value under a key of a struct; null if there is none.
  Value operator[](std::string_view key) const noexcept { return find(key).value_or(Value()); }
  /// The same, which tells what is null from what is not there.
  std::optional<Value> find(std::string_view key) const noexcept {
    const extproc_value* found = api_ == nullptr ? nullptr : api_->find(value_, detail::to_abi(key));
    if (found == nullptr) return std::nullopt;
    return Value(api_, found);
  }

  /// Over the entries of a list or a struct; there are none in others.
  iterator begin() const noexcept;
  iterator end() const noexcept;

 private:
  const extproc_metadata_api_2* api_ = nullptr;
  const extproc_value* value_ = nullptr;
};

/// An entry of a list or a struct.
struct ValueEntry {
  std::string_view key;  ///< empty in a list
  Value value;
};

class Value::iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = ValueEntry;
  using difference_type = std::ptrdiff_t;
  using pointer = const ValueEntry*;
  using reference = ValueEntry;

  iterator() noexcept = default;

  ValueEntry operator*() const noexcept {
    extproc_str key{};
    const extproc_value* entry = of_.api_->at(of_.value_, index_, &key);
    return {detail::from_abi(key), Value(of_.api_, entry)};
  }
  iterator& operator++() noexcept {
    ++index_;
    return *this;
  }
  iterator operator++(int) noexcept {
    const iterator before = *this;
    ++index_;
    return before;
  }
  friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.index_ == b.index_; }
  friend bool operator!=(const iterator& a, const iterator& b) noexcept { return a.index_ != b.index_; }

 private:
  friend class Value;
  iterator(const Value& of, std::size_t index) noexcept : of_(of), index_(index) {}

  Value of_;
  std::size_t index_ = 0;
};

inline Value::iterator Value::begin() const noexcept { return {*this, 0}; }
inline Value::iterator Value::end() const noexcept { return {*this, size()}; }

/// A message of the request's typed dynamic metadata, encoded. Valid until the end of the callback.
struct TypedMetadata {
  std::string_view type_url;  ///< "type.googleapis.com/google.protobuf.Duration"
  std::string_view message;
};

/// A value to be set, as JSON: Json{R"({"roles": ["admin"]})"}.
struct Json {
  std::string_view text;
};

}  // namespace v1
}  // namespace extproc
