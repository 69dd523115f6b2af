#include "core/engine/store.h"

#include <algorithm>

namespace extprocd::engine {

std::optional<std::string_view> Store::get(std::string_view key) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [key](const auto& entry) { return entry.first == key; });
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

bool Store::set(std::string_view key, std::string_view value) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [key](const auto& entry) { return entry.first == key; });
  const bool is_new = found == entries_.end();
  const std::size_t before = is_new ? 0 : key.size() + found->second.size();
  const std::size_t after = bytes_ - before + key.size() + value.size();
  if (after > kMaxBytes) return false;
  bytes_ = after;
  if (is_new) {
    entries_.emplace_back(key, value);
  } else {
    found->second = value;
  }
  return true;
}

bool Store::remove(std::string_view key) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [key](const auto& entry) { return entry.first == key; });
  if (found == entries_.end()) return false;
  bytes_ -= found->first.size() + found->second.size();
  entries_.erase(found);
  return true;
}

}  // namespace extprocd::engine
