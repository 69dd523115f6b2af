#include "core/http/header_map.h"

#include <algorithm>
#include <memory>

namespace extprocd::http {
namespace {

std::string_view view(const extproc_str& text) { return {text.data, text.size}; }
extproc_str str(std::string_view text) { return {text.data(), text.size()}; }

bool is_named(const HeaderMap::Entry& entry, std::string_view name) { return view(entry.name) == name; }

/// Goes over the values of one name, in order.
class Values {
 public:
  Values(std::span<const HeaderMap::Entry> entries, std::string_view name)
      : at_(entries.data()), end_(entries.data() + entries.size()), name_(name) {}

  /// The next one; nothing at the end.
  std::optional<std::string_view> next() {
    while (at_ != end_) {
      const HeaderMap::Entry& entry = *at_++;
      if (is_named(entry, name_)) return view(entry.value);
    }
    return std::nullopt;
  }

 private:
  const HeaderMap::Entry* at_;
  const HeaderMap::Entry* end_;
  std::string_view name_;
};

}  // namespace

std::optional<std::string_view> HeaderMap::first(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [name](const Entry& entry) {
    return entry.name.size == name.size() && same_name(view(entry.name), name);
  });
  if (found == entries_.end()) return std::nullopt;
  return view(found->value);
}

void HeaderMap::before_edit(Arena& arena) {
  if (edits_ == nullptr) edits_ = std::construct_at(arena.allocate_array<Edits>(1));
  if (!edited()) edits_->original.assign(entries(), arena);
  if (!undo_armed_ || undo_saved_) return;
  undo_saved_ = true;
  if (edited()) edits_->undo_copy.assign(entries(), arena);
  edits_->undo_entries = edited() ? edits_->undo_copy.span() : edits_->original.span();
  edits_->undo_touched.assign(edits_->touched.span(), arena);
}

std::string_view HeaderMap::touch(std::string_view name, bool only_added, Arena& arena) {
  for (Touched& touched : edits_->touched) {
    if (touched.name != name) continue;
    touched.only_added = touched.only_added && only_added;
    return touched.name;
  }
  edits_->touched.push_back({arena.copy(name), only_added}, arena);
  return edits_->touched.back().name;
}

void HeaderMap::set(std::string_view name, std::string_view value, Arena& arena) {
  before_edit(arena);
  const std::string_view own_name = touch(name, /*only_added=*/false, arena);
  const extproc_str own_value = str(arena.copy(value));
  const auto named = [own_name](const Entry& entry) { return is_named(entry, own_name); };
  Entry* const first = std::find_if(entries_.begin(), entries_.end(), named);
  if (first == entries_.end()) {
    entries_.push_back({str(own_name), own_value}, arena);
    return;
  }
  first->value = own_value;
  entries_.cut(std::remove_if(first + 1, entries_.end(), named));
}

void HeaderMap::add(std::string_view name, std::string_view value, Arena& arena) {
  before_edit(arena);
  const std::string_view own_name = touch(name, /*only_added=*/true, arena);
  entries_.push_back({str(own_name), str(arena.copy(value))}, arena);
}

void HeaderMap::remove(std::string_view name, Arena& arena) {
  before_edit(arena);
  const std::string_view own_name = touch(name, /*only_added=*/false, arena);
  entries_.cut(std::remove_if(entries_.begin(), entries_.end(),
                              [own_name](const Entry& entry) { return is_named(entry, own_name); }));
}

void HeaderMap::copy(std::span<const Entry> from, ArenaVector<Entry>& to, Arena& arena) {
  to.cut(to.begin());
  to.reserve(from.size() + kRoomForEdits, arena);
  for (const Entry& entry : from) {
    to.push_back({str(arena.copy(view(entry.name))), str(arena.copy(view(entry.value)))}, arena);
  }
}

void HeaderMap::copy(std::span<const Touched> from, ArenaVector<Touched>& to, Arena& arena) {
  to.cut(to.begin());
  to.reserve(from.size(), arena);
  for (const Touched& touched : from) to.push_back({arena.copy(touched.name), touched.only_added}, arena);
}

void HeaderMap::copy(const HeaderMap& other, Arena& arena) {
  *this = {};
  present_ = other.present_;
  arena.reserve(room_for(other.entries().size()) + byte_size(other.entries()));
  copy(other.entries(), entries_, arena);
  if (!other.edited()) return;
  edits_ = std::construct_at(arena.allocate_array<Edits>(1));
  copy(other.edits_->original.span(), edits_->original, arena);
  copy(other.edits_->touched.span(), edits_->touched, arena);
}

void HeaderMap::take_over(const HeaderMap& edited_copy, Arena& arena) {
  before_edit(arena);
  copy(edited_copy.entries(), entries_, arena);
  edits_->touched.cut(edits_->touched.begin());
  if (edited_copy.edited()) copy(edited_copy.edits_->touched.span(), edits_->touched, arena);
}

void HeaderMap::undo(Arena& arena) {
  if (!undo_saved_) return;
  entries_.assign(edits_->undo_entries, arena);
  edits_->touched.assign(edits_->undo_touched.span(), arena);
  undo_saved_ = false;
}

void HeaderMap::net(HeaderMutation& mutation) const {
  mutation.clear();
  if (!edited()) return;
  for (const Touched& touched : edits_->touched) {
    Values original_values(original(), touched.name);
    Values values(entries(), touched.name);
    auto before = original_values.next();
    auto now = values.next();
    if (!now) {
      // Also where there was none before: the data plane may have withheld it.
      mutation.remove.push_back(touched.name);
      continue;
    }
    const bool was_there = before.has_value();
    while (before && now && *before == *now) {
      before = original_values.next();
      now = values.next();
    }
    if (!before && !now) continue;
    const bool append_all = !before && (was_there || touched.only_added);
    if (!append_all) {
      values = Values(entries(), touched.name);
      now = values.next();
    }
    for (bool append = append_all; now; now = values.next(), append = true) {
      mutation.set.push_back({touched.name, *now, append});
    }
  }
}

std::size_t byte_size(std::span<const HeaderMap::Entry> entries) {
  std::size_t size = 0;
  for (const auto& entry : entries) size += entry.name.size + entry.value.size;
  return size;
}

}  // namespace extprocd::http
