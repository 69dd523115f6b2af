#pragma once

#include <cstdint>
#include <optional>
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
  /// Whole numbers from `least` to `most`.
  void get(std::string_view key, uint32_t& target, uint32_t least, uint32_t most);
  /// A size: a whole number of bytes, or text with a unit.
  void get_size(std::string_view key, uint64_t& target, uint64_t least, uint64_t most);
  /// A duration: a number of seconds, or text with a unit.
  void get_duration(std::string_view key, double& target, double most);
  /// The value under a key, whatever it is; null if it is missing.
  const Value* take(std::string_view key);
  /// The table under a key; null if it is missing or no table, which is then reported.
  const Value* take_table(std::string_view key);

  /// Reports an error at the value under `key`, or at the table where there is none.
  void error(std::string_view key, std::string text);
  /// Reports every key that no getter asked for, with the nearest one that was.
  void report_unknown();

  [[nodiscard]] std::string full_name(std::string_view key) const;

 private:
  void wrong_type(std::string_view key, const Value& value, std::string_view wanted);

  const Value& table_;
  const std::string path_;
  const std::string& file_;
  std::vector<Diagnostic>& errors_;
  std::vector<std::string> known_;
};

}  // namespace extprocd::config
