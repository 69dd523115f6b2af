#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {

namespace detail {

/// What all Config objects of one plugin share while it is created.
struct ConfigReader {
  const extproc_host* host = nullptr;
  const extproc_config_api* api = nullptr;
  bool failed = false;
};

/// "64MiB", "500KB", "4096": bytes, in the words of the server's own configuration.
inline std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  constexpr std::uint64_t kMax = UINT64_MAX;
  std::uint64_t number = 0;
  std::size_t digits = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
    const auto digit = static_cast<std::uint64_t>(text[digits] - '0');
    if (number > (kMax - digit) / 10) return std::nullopt;
    number = number * 10 + digit;
  }
  if (digits == 0) return std::nullopt;
  std::string_view unit = text.substr(digits);
  while (!unit.empty() && unit[0] == ' ') unit.remove_prefix(1);
  struct Unit {
    std::string_view name;
    std::uint64_t factor;
  };
  constexpr Unit kUnits[] = {{"", 1},
                             {"B", 1},
                             {"KB", 1000},
                             {"MB", 1000000},
                             {"GB", 1000000000},
                             {"KiB", 1ULL << 10},
                             {"MiB", 1ULL << 20},
                             {"GiB", 1ULL << 30}};
  for (const Unit& known : kUnits) {
    if (known.name != unit) continue;
    if (number > kMax / known.factor) return std::nullopt;
    return number * known.factor;
  }
  return std::nullopt;
}

}  // namespace detail

/// What a configured value is.
enum class ConfigType {
  kNone,  ///< there is no such key
  kBool,
  kInteger,
  kFloat,
  kString,
  kArray,
  kTable,
  kOther,  ///< a kind of a newer host
};

/// One table of the plugin's configuration, the [plugin.config] of its entry at first.
///
/// A key may be dotted: "limits.max_bytes" is max_bytes in the sub-table limits. A key that is asked for
/// counts as read; keys in the file that were never read are reported by the host as unknown.
///
/// A wrong value, or a required one that is missing, is recorded with its key and its place in the file, the
/// getter returns its default, and loading fails after the constructor has returned: so all errors are shown
/// at once. No getter throws, but for lack of memory.
///
/// [load]: valid only in the plugin's constructor; copy what you keep.
class Config {
 public:
  /// Made by the SDK. `reader` outlives the object. A null `node` is an empty table.
  Config(detail::ConfigReader& reader, const extproc_config_node* node, std::string path = {})
      : reader_(&reader), node_(node), path_(std::move(path)) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }

  ConfigType type(std::string_view key) const {
    const extproc_config_node* node = find(key);
    return node == nullptr ? ConfigType::kNone : type_of(node);
  }

  bool is_table(std::string_view key) const { return type(key) == ConfigType::kTable; }

  std::string string_or(std::string_view key, std::string_view fallback) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) return std::string(fallback);
    return string_at(node, name_of(key)).value_or(std::string(fallback));
  }

  /// A string that must be there; empty after the error was recorded.
  std::string required_string(std::string_view key) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) {
      report(node_, "required option '" + name_of(key) + "' is missing: give it a string");
      return {};
    }
    return string_at(node, name_of(key)).value_or(std::string());
  }

  bool bool_or(std::string_view key, bool fallback) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) return fallback;
    std::uint32_t value = 0;
    if (reader_->api->get_bool(node, &value) == EXTPROC_OK) return value != 0;
    wrong_type(node, name_of(key), "true or false");
    return fallback;
  }

  /// An integer from `low` to `high`.
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t low = INT64_MIN,
                          std::int64_t high = INT64_MAX) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) return fallback;
    std::int64_t value = 0;
    if (reader_->api->get_integer(node, &value) != EXTPROC_OK) {
      wrong_type(node, name_of(key), "an integer");
      return fallback;
    }
    if (value >= low && value <= high) return value;
    report(node, "option '" + name_of(key) + "' must be from " + std::to_string(low) + " to " +
                     std::to_string(high) + ", found " + std::to_string(value));
    return fallback;
  }

  /// A number of bytes: an integer, or text such as "64KiB" (B, KB, MB, GB, KiB, MiB, GiB).
  std::size_t size_or(std::string_view key, std::size_t fallback) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) return fallback;
    std::int64_t number = 0;
    if (reader_->api->get_integer(node, &number) == EXTPROC_OK && number >= 0) {
      return static_cast<std::size_t>(number);
    }
    extproc_str text{};
    if (reader_->api->get_string(node, &text) == EXTPROC_OK) {
      const auto bytes = detail::parse_size(detail::from_abi(text));
      if (bytes && *bytes <= SIZE_MAX) return static_cast<std::size_t>(*bytes);
    }
    report(node, "option '" + name_of(key) + "' must be a number of bytes, or text such as \"64KiB\"");
    return fallback;
  }

  /// A number; integers are taken too.
  double float_or(std::string_view key, double fallback) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr) return fallback;
    double value = 0;
    if (reader_->api->get_float(node, &value) == EXTPROC_OK) return value;
    wrong_type(node, name_of(key), "a number");
    return fallback;
  }

  /// An array of strings; empty if there is none.
  std::vector<std::string> strings(std::string_view key) const {
    std::vector<std::string> all;
    const extproc_config_node* node = find_of_type(key, ConfigType::kArray, "an array of strings");
    for (std::size_t i = 0; node != nullptr && i < reader_->api->size(node); ++i) {
      const extproc_config_node* entry = reader_->api->at(node, i, nullptr);
      auto text = string_at(entry, name_of(key) + "[" + std::to_string(i) + "]");
      if (text) all.push_back(std::move(*text));
    }
    return all;
  }

  /// A table from string to string, in the host's order; empty if there is none.
  std::vector<std::pair<std::string, std::string>> string_table(std::string_view key) const {
    std::vector<std::pair<std::string, std::string>> all;
    const extproc_config_node* node = find_of_type(key, ConfigType::kTable, "a table of strings");
    for (std::size_t i = 0; node != nullptr && i < reader_->api->size(node); ++i) {
      extproc_str name{};
      const extproc_config_node* entry = reader_->api->at(node, i, &name);
      std::string entry_name(detail::from_abi(name));
      auto text = string_at(entry, name_of(key) + "." + entry_name);
      if (text) all.emplace_back(std::move(entry_name), std::move(*text));
    }
    return all;
  }

  /// A sub-table; an empty one if there is none.
  Config table(std::string_view key) const {
    return Config(*reader_, find_of_type(key, ConfigType::kTable, "a table"), name_of(key));
  }

  /// An array of tables; empty if there is none.
  std::vector<Config> tables(std::string_view key) const {
    std::vector<Config> all;
    const extproc_config_node* node = find_of_type(key, ConfigType::kArray, "an array of tables");
    for (std::size_t i = 0; node != nullptr && i < reader_->api->size(node); ++i) {
      const extproc_config_node* entry = reader_->api->at(node, i, nullptr);
      std::string entry_name = name_of(key) + "[" + std::to_string(i) + "]";
      if (type_of(entry) == ConfigType::kTable) {
        all.emplace_back(*reader_, entry, std::move(entry_name));
      } else {
        wrong_type(entry, entry_name, "a table");
      }
    }
    return all;
  }

  /// The plugin's whole configuration as JSON text; every key counts as read. Copy it to keep it.
  std::string_view json() const noexcept {
    if (reader_->api == nullptr) return "{}";
    return detail::from_abi(reader_->api->json(reader_->host));
  }

  /// Records an error of your own at a key, or at this table if it has no such key. The text should say what
  /// is wrong and what to write instead.
  void error(std::string_view key, const std::string& text) const {
    const extproc_config_node* node = find(key);
    report(node == nullptr ? node_ : node, "option '" + name_of(key) + "': " + text);
  }

 private:
  const extproc_config_node* find(std::string_view key) const {
    const extproc_config_node* node = node_;
    while (node != nullptr) {
      const std::size_t dot = key.find('.');
      node = reader_->api->find(node, detail::to_abi(key.substr(0, dot)));
      if (dot == std::string_view::npos) return node;
      key.remove_prefix(dot + 1);
    }
    return nullptr;
  }

  const extproc_config_node* find_of_type(std::string_view key, ConfigType wanted, const char* words) const {
    const extproc_config_node* node = find(key);
    if (node == nullptr || type_of(node) == wanted) return node;
    wrong_type(node, name_of(key), words);
    return nullptr;
  }

  ConfigType type_of(const extproc_config_node* node) const noexcept {
    switch (reader_->api->type(node)) {
      case EXTPROC_CONFIG_BOOL:
        return ConfigType::kBool;
      case EXTPROC_CONFIG_INTEGER:
        return ConfigType::kInteger;
      case EXTPROC_CONFIG_FLOAT:
        return ConfigType::kFloat;
      case EXTPROC_CONFIG_STRING:
        return ConfigType::kString;
      case EXTPROC_CONFIG_ARRAY:
        return ConfigType::kArray;
      case EXTPROC_CONFIG_TABLE:
        return ConfigType::kTable;
      default:
        return ConfigType::kOther;
    }
  }

  std::optional<std::string> string_at(const extproc_config_node* node, const std::string& name) const {
    extproc_str text{};
    if (reader_->api->get_string(node, &text) == EXTPROC_OK) return std::string(detail::from_abi(text));
    wrong_type(node, name, "a string");
    return std::nullopt;
  }

  void wrong_type(const extproc_config_node* node, const std::string& name, const char* words) const {
    constexpr const char* kFound[] = {"nothing",  "a boolean", "an integer", "a float",
                                      "a string", "an array",  "a table",    "something else"};
    report(node,
           "option '" + name + "' must be " + words + ", found " + kFound[static_cast<int>(type_of(node))]);
  }

  void report(const extproc_config_node* node, const std::string& text) const {
    reader_->failed = true;
    if (node != nullptr) {
      reader_->api->error(reader_->host, node, detail::to_abi(text));
    } else {
      reader_->host->create_error(reader_->host, detail::to_abi(text));
    }
  }

  std::string name_of(std::string_view key) const {
    std::string name = path_;
    if (!name.empty()) name += '.';
    return name.append(key);
  }

  detail::ConfigReader* reader_;
  const extproc_config_node* node_;
  std::string path_;
};

}  // namespace v1
}  // namespace extproc
