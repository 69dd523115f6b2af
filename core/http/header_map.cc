#include "core/http/header_map.h"

#include <algorithm>

#include "core/http/header_syntax.h"

namespace extprocd::http {
namespace {

std::string_view view(const extproc_str& text) { return {text.data, text.size}; }
extproc_str str(std::string_view text) { return {text.data(), text.size()}; }

bool is_named(const HeaderMap::Entry& entry, std::string_view name) { return view(entry.name) == name; }

/// The values of one name, in order.
std::vector<std::string_view> values_of(std::span<const HeaderMap::Entry> entries, std::string_view name) {
  std::vector<std::string_view> values;
  for (const auto& entry : entries) {
    if (is_named(entry, name)) values.push_back(view(entry.value));
  }
  return values;
}

}  // namespace

void HeaderMap::add_original(std::string_view name, std::string_view value, Arena& arena) {
  present_ = true;
  entries_.push_back({str(lower_case(name, arena)), str(value)});
}

std::optional<std::string_view> HeaderMap::first(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [name](const Entry& entry) { return same_name(view(entry.name), name); });
  if (found == entries_.end()) return std::nullopt;
  return view(found->value);
}

void HeaderMap::before_edit() {
  if (!edited()) original_ = entries_;
  if (undo_armed_ && !undo_saved_) {
    undo_entries_ = entries_;
    undo_touched_ = touched_;
    undo_saved_ = true;
  }
}

std::string_view HeaderMap::touch(std::string_view name, bool only_added, Arena& arena) {
  for (Touched& touched : touched_) {
    if (touched.name != name) continue;
    touched.only_added = touched.only_added && only_added;
    return touched.name;
  }
  touched_.push_back({arena.copy(name), only_added});
  return touched_.back().name;
}

void HeaderMap::set(std::string_view name, std::string_view value, Arena& arena) {
  before_edit();
  const std::string_view own_name = touch(name, /*only_added=*/false, arena);
  const extproc_str own_value = str(arena.copy(value));
  const auto first = std::find_if(entries_.begin(), entries_.end(),
                                  [own_name](const Entry& entry) { return is_named(entry, own_name); });
  if (first == entries_.end()) {
    entries_.push_back({str(own_name), own_value});
    return;
  }
  first->value = own_value;
  entries_.erase(std::remove_if(first + 1, entries_.end(),
                                [own_name](const Entry& entry) { return is_named(entry, own_name); }),
                 entries_.end());
}

void HeaderMap::add(std::string_view name, std::string_view value, Arena& arena) {
  before_edit();
  const std::string_view own_name = touch(name, /*only_added=*/true, arena);
  entries_.push_back({str(own_name), str(arena.copy(value))});
}

void HeaderMap::remove(std::string_view name, Arena& arena) {
  before_edit();
  const std::string_view own_name = touch(name, /*only_added=*/false, arena);
  std::erase_if(entries_, [own_name](const Entry& entry) { return is_named(entry, own_name); });
}

void HeaderMap::begin_undo() {
  undo_armed_ = true;
  undo_saved_ = false;
}

void HeaderMap::undo() {
  if (!undo_saved_) return;
  entries_ = undo_entries_;
  touched_ = undo_touched_;
  undo_saved_ = false;
}

void HeaderMap::net(HeaderMutation& mutation) const {
  mutation.clear();
  for (const Touched& touched : touched_) {
    const auto before = values_of(original(), touched.name);
    const auto now = values_of(entries_, touched.name);
    if (now.empty()) {
      // Also where there was none before: the data plane may have withheld it.
      mutation.remove.push_back(touched.name);
      continue;
    }
    if (before == now) continue;
    const bool grown = now.size() > before.size() && std::equal(before.begin(), before.end(), now.begin());
    const bool append_all = grown && (!before.empty() || touched.only_added);
    for (std::size_t i = append_all ? before.size() : 0; i < now.size(); ++i) {
      mutation.set.push_back({touched.name, now[i], append_all || i > 0});
    }
  }
}

std::size_t byte_size(std::span<const HeaderMap::Entry> entries) {
  std::size_t size = 0;
  for (const auto& entry : entries) size += entry.name.size + entry.value.size;
  return size;
}

}  // namespace extprocd::http
