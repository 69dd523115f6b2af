#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include <extproc/abi.h>

#include "core/http/arena.h"
#include "core/http/arena_vector.h"
#include "core/http/header_mutation.h"
#include "core/http/header_syntax.h"

namespace extprocd::http {

/// The effective headers (or trailers) of one message: as the data plane sent them, with the edits made
/// since, and the net difference between the two.
///
/// Names are in lower case; entries keep their order; a name may come several times. Original entries are
/// views into the message that brought them, which the caller keeps alive. The entries themselves and what edits bring
/// are in the arena, which is the same at every call and outlives the map. One thread at a time.
class HeaderMap {
 public:
  using Entry = extproc_header;

  /// Begins a map without entries that has not come yet.
  HeaderMap() = default;

  HeaderMap(HeaderMap&&) noexcept = default;
  HeaderMap& operator=(HeaderMap&&) noexcept = default;
  HeaderMap(const HeaderMap&) = delete;
  HeaderMap& operator=(const HeaderMap&) = delete;

  /// Bytes of the arena that begin_original() takes.
  static constexpr std::size_t room_for(std::size_t count) { return (count + kRoomForEdits) * sizeof(Entry); }
  /// Marks the map as come and makes room for its entries, of which there may be none, and for some more.
  void begin_original(std::size_t count, Arena& arena) {
    present_ = true;
    entries_.reserve(count + kRoomForEdits, arena);
  }
  /// Adds an entry of the original message; before any edit. Marks the map as come.
  void add_original(std::string_view name, std::string_view value, Arena& arena) {
    add_original_lower_case(lower_case(name, arena), value, arena);
  }
  /// The same for a name that is known to be in lower case.
  void add_original_lower_case(std::string_view name, std::string_view value, Arena& arena) {
    present_ = true;
    entries_.push_back({{name.data(), name.size()}, {value.data(), value.size()}}, arena);
  }
  /// Has the message that carries this map come?
  [[nodiscard]] bool present() const { return present_; }

  /// All entries in order. Valid until the next edit.
  [[nodiscard]] std::span<const Entry> entries() const { return entries_.span(); }
  /// The first value of a name (ASCII case does not matter).
  [[nodiscard]] std::optional<std::string_view> first(std::string_view name) const;

  /// Replaces all values of a name with one, in the place of the first, or adds it at the end. `name` in
  /// lower case.
  void set(std::string_view name, std::string_view value, Arena& arena);
  /// Adds one more value at the end. `name` in lower case.
  void add(std::string_view name, std::string_view value, Arena& arena);
  /// Removes all values. A name that is not here is removed in the data plane all the same, which may have
  /// withheld it (Envoy's forward_rules).
  void remove(std::string_view name, Arena& arena);

  /// Begins a map as another one is, edits included, with nothing in common: all of it is in `arena`, which is this
  /// map's from here on.
  void copy(const HeaderMap& other, Arena& arena);
  /// Takes over what a copy() of this map has become, as edits of this one.
  void take_over(const HeaderMap& edited_copy, Arena& arena);

  /// How many names have been touched.
  [[nodiscard]] std::size_t touched() const { return edits_ == nullptr ? 0 : edits_->touched.size(); }
  /// The entries as the data plane sent them.
  [[nodiscard]] std::span<const Entry> original() const {
    return edited() ? edits_->original.span() : entries_.span();
  }

  /// Begins a part of the edits that can be undone as one.
  void begin_undo() {
    undo_armed_ = true;
    undo_saved_ = false;
  }
  /// Takes back all edits since begin_undo().
  void undo(Arena& arena);
  /// Has anything been edited since begin_undo()?
  [[nodiscard]] bool edited_since_undo_point() const { return undo_saved_; }

  /// The net difference to the original, per touched name: gone or withheld -> removed; the same -> nothing;
  /// only grown -> the new values appended; else the first value replaces and the rest are appended. Names in
  /// the order in which they were first touched. The views live as long as the original message and the
  /// arena.
  void net(HeaderMutation& mutation) const;
  /// The data plane has been sent net(), and has these entries now: what is edited from here on is a new difference.
  void mark_sent() {
    if (edits_ != nullptr) edits_->touched.cut(edits_->touched.begin());
  }
  /// Was anything touched at all? If not, net() is empty.
  [[nodiscard]] bool edited() const { return touched() > 0; }

 private:
  struct Touched {
    std::string_view name;
    bool only_added;
  };

  /// What only an edited map needs.
  struct Edits {
    ArenaVector<Entry> original;  // a copy of the entries from before the first edit
    ArenaVector<Touched> touched;
    // What undo() goes back to. The first plugin that edits a map goes back to the original, without a copy.
    std::span<const Entry> undo_entries;
    ArenaVector<Entry> undo_copy;
    ArenaVector<Touched> undo_touched;
  };

  // Most who add headers add a few: the entries stay where they are then.
  static constexpr std::size_t kRoomForEdits = 3;

  void before_edit(Arena& arena);
  static void copy(std::span<const Entry> from, ArenaVector<Entry>& to, Arena& arena);
  static void copy(std::span<const Touched> from, ArenaVector<Touched>& to, Arena& arena);
  std::string_view touch(std::string_view name, bool only_added, Arena& arena);

  ArenaVector<Entry> entries_;
  Edits* edits_ = nullptr;  // in the arena; null while nothing has been edited
  bool present_ = false;
  bool undo_armed_ = false;
  bool undo_saved_ = false;
};

/// Bytes of all names and values together, as data planes count them.
std::size_t byte_size(std::span<const HeaderMap::Entry> entries);

}  // namespace extprocd::http
