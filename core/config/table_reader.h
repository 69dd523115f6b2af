#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config.h"

namespace extprocd::config {

/// Reads the keys of one table, collects what is wrong with them, and reports the keys that nobody asked for.
/// A getter leaves its target as it is where the key is missing or wrong. One thread.
class TableReader {
 public:
  /// `path` is what messages call the table: "server.limits"; empty for the top. All of it outlives the
  /// reader.
  TableReader(const Value& table, std::string path, const std::string& file, std::vector<Diagnostic>& errors);

  void get(std::string_view key, bool& target);
  void get(std::string_view key, std::string& target);
  void get(std::string_view key, std::vector<std::string>& target);
  /// One string, or an array of them.
  void get_list(std::string_view key, std::vector<std::string>& target);
  /// One of these words.
  void get(std::string_view key, std::string& target, std::span<const std::string_view> words);
  /// "fail", "deny" or "skip".
  void get(std::string_view key, FailurePolicy& target);
  /// The key `name` of a [[what]] entry, required: 1 to 64 of letters, digits, '_', '.' and '-', and not taken.
  void get_name(std::string_view what, std::string& target,
                const std::function<bool(const std::string&)>& taken);
  /// Whole numbers from `least` to `most`.
  void get(std::string_view key, uint32_t& target, uint32_t least, uint32_t most);
  /// A size: a whole number of bytes, or text with a unit.
  void get_size(std::string_view key, uint64_t& target, uint64_t least, uint64_t most);
  /// A duration: a number of seconds, or text with a unit.
  void get_duration(std::string_view key, double& target, double least, double most);
  /// As get_duration, but 0 is allowed as well.
  void get_duration_or_off(std::string_view key, double& target, double least, double most);
  /// The value under a key, whatever it is; null if it is missing.
  const Value* take(std::string_view key);
  /// The table under a key; null if it is missing or no table, which is then reported.
  const Value* take_table(std::string_view key);

  /// The tables of an array of tables, written [[key]]; what is no table is reported and left out.
  std::vector<const Value*> take_tables(std::string_view key);

  /// Reports an error at the value under `key`, or at the table where there is none.
  void error(std::string_view key, std::string text);
  /// Reports every key that no getter asked for, with the nearest one that was.
  void report_unknown();
  /// A reader of a table below this one, which take_table gave.
  [[nodiscard]] TableReader below(std::string_view key, const Value& table) const {
    return {table, full_name(key), file_, errors_};
  }

  /// Has `read` read the table under a key, if there is one, and reports the keys that it did not ask for.
  template <typename Read>
  void in_table(std::string_view key, Read read) {
    const Value* value = take_table(key);
    if (value == nullptr) return;
    TableReader table = below(key, *value);
    read(table);
    table.report_unknown();
  }

  [[nodiscard]] const Value& table() const { return table_; }
  [[nodiscard]] std::string full_name(std::string_view key) const;

 private:
  void read_duration(std::string_view key, double& target, double least, double most, bool zero_is_off);
  void wrong_type(std::string_view key, const Value& value, std::string_view wanted);

  const Value& table_;
  const std::string path_;
  const std::string& file_;
  std::vector<Diagnostic>& errors_;
  std::vector<std::string> known_;
};

}  // namespace extprocd::config
