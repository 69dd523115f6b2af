#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <extproc/abi.h>

#include "core/http/arena.h"
#include "core/http/header_mutation.h"

namespace extprocd::http {

/// The effective headers (or trailers) of one message: as the data plane sent them, with the edits made
/// since, and the net difference between the two.
///
/// Names are in lower case; entries keep their order; a name may come several times. Original entries are
/// views into the message that brought them, which the caller keeps alive. What edits bring is copied into
/// the arena. One thread at a time.
class HeaderMap {
 public:
  using Entry = extproc_header;

  /// Begins a map without entries that has not come yet.
  HeaderMap() = default;

  /// Adds an entry of the original message; before any edit. Marks the map as come.
  void add_original(std::string_view name, std::string_view value, Arena& arena);
  /// Marks a map as come that may have no entries.
  void set_present() { present_ = true; }
  /// Has the message that carries this map come?
  [[nodiscard]] bool present() const { return present_; }

  /// All entries in order. Valid until the next edit.
  [[nodiscard]] std::span<const Entry> entries() const { return entries_; }
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

  /// How many names have been touched.
  [[nodiscard]] std::size_t touched() const { return touched_.size(); }
  /// The entries as the data plane sent them.
  [[nodiscard]] std::span<const Entry> original() const {
    return edited() ? std::span<const Entry>(original_) : std::span<const Entry>(entries_);
  }

  /// Begins a part of the edits that can be undone as one.
  void begin_undo();
  /// Takes back all edits since begin_undo().
  void undo();
  /// Has anything been edited since begin_undo()?
  [[nodiscard]] bool edited_since_undo_point() const { return undo_saved_; }

  /// The net difference to the original, per touched name: gone or withheld -> removed; the same -> nothing;
  /// only grown -> the new values appended; else the first value replaces and the rest are appended. Names in
  /// the order in which they were first touched. The views live as long as the original message and the
  /// arena.
  void net(HeaderMutation& mutation) const;
  /// Was anything touched at all? If not, net() is empty.
  [[nodiscard]] bool edited() const { return !touched_.empty(); }

 private:
  struct Touched {
    std::string_view name;
    bool only_added;
  };

  void before_edit();
  std::string_view touch(std::string_view name, bool only_added, Arena& arena);

  std::vector<Entry> entries_;
  std::vector<Entry> original_;  // a copy of entries_ from before the first edit
  std::vector<Touched> touched_;
  bool present_ = false;

  bool undo_armed_ = false;
  bool undo_saved_ = false;
  std::vector<Entry> undo_entries_;
  std::vector<Touched> undo_touched_;
};

/// Bytes of all names and values together, as data planes count them.
std::size_t byte_size(std::span<const HeaderMap::Entry> entries);

}  // namespace extprocd::http
