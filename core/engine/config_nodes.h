#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config.h"

namespace extprocd::engine {

/// A plugin's configuration as a tree that remembers what was read, so that unknown keys can be reported. One
/// thread.
class ConfigNode {
 public:
  /// `value` outlives the node.
  explicit ConfigNode(const config::Value& value, std::string key = {});

  [[nodiscard]] const config::Value& value() const { return *value_; }
  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] const std::vector<std::unique_ptr<ConfigNode>>& children() const { return children_; }

  /// The child under a key, which now counts as read; null if there is none.
  const ConfigNode* find(std::string_view key) const;
  /// The child at a place, which now counts as read; null past the end.
  const ConfigNode* at(std::size_t index) const;
  /// Counts everything below as read.
  void mark_all_read() const;

  /// An error for each key in a table below that was never read, with the nearest key that was asked for.
  void report_unread(const std::string& file, const std::string& plugin,
                     std::vector<config::Diagnostic>& errors) const;

 private:
  const config::Value* value_;
  std::string key_;
  std::vector<std::unique_ptr<ConfigNode>> children_;
  mutable bool read_ = false;
  mutable std::vector<std::string> asked_;  // keys that the plugin looked for here
};

}  // namespace extprocd::engine
