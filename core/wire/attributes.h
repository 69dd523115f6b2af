#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/wire/value.h"

namespace extprocd::wire {

// get() and json() give text: strings as they are, `true` and `false`, numbers in their shortest form (whole ones
// without a point), `null`, structs and lists as JSON with sorted keys.

/// The attributes that the data plane was configured to send ("request.path", "xds.route_name"). They come
/// once a direction, with its first message; what a later message says of a name wins, other names stay.
///
/// Owns copies of what it is given and decodes them when first asked. What cannot be decoded is left out. One
/// thread at a time.
class AttributeReader {
 public:
  AttributeReader();
  ~AttributeReader();
  AttributeReader(AttributeReader&&) noexcept;
  AttributeReader& operator=(AttributeReader&&) noexcept;

  /// A reader of the same, with nothing in common: for another thread.
  [[nodiscard]] AttributeReader copy() const;

  /// What all messages of a stream may say together, in bytes.
  static constexpr std::size_t kMaxSize = 1 << 20;

  /// Adds one entry of RequestView::attributes(). Entries other than Envoy's "envoy.filters.http.ext_proc"
  /// are ignored. False: it would be more than kMaxSize.
  [[nodiscard]] bool add(std::string_view entry);
  [[nodiscard]] bool add(std::span<const std::string_view> entries) {
    return std::all_of(entries.begin(), entries.end(), [this](std::string_view entry) { return add(entry); });
  }

  /// The text of an attribute, nothing if it was not sent.
  [[nodiscard]] std::optional<std::string> get(std::string_view name) const;
  /// The attribute itself, null if it was not sent. Valid until the next add().
  [[nodiscard]] const Value* value(std::string_view name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;  // decodes on demand; null until something comes
};

/// A google.protobuf.Any.
struct TypedMetadata {
  std::string_view type_url;
  std::string_view message;  ///< encoded
};

/// The dynamic metadata of the request. Envoy repeats it on every message, so the last message counts.
///
/// Owns copies of what it is given and decodes them when first asked. What cannot be decoded counts as empty.
/// One thread at a time.
class MetadataReader {
 public:
  MetadataReader();
  ~MetadataReader();
  MetadataReader(MetadataReader&&) noexcept;
  MetadataReader& operator=(MetadataReader&&) noexcept;

  /// A reader of the same, with nothing in common: for another thread.
  [[nodiscard]] MetadataReader copy() const;

  /// Takes RequestView::metadata_context() in place of what earlier messages said; if it is not there, that
  /// stays.
  void update(std::span<const std::string_view> occurrences);

  /// The text of a value in filter_metadata. `path` is a key, or keys of nested structs joined by dots; a key
  /// that has dots itself is found too.
  [[nodiscard]] std::optional<std::string> get(std::string_view name_space, std::string_view path) const;
  /// A whole namespace of filter_metadata as JSON.
  [[nodiscard]] std::optional<std::string> json(std::string_view name_space) const;

  // What these show is valid until the next update().

  /// A namespace of filter_metadata, which is a struct; null if it was not sent.
  [[nodiscard]] const Value* value(std::string_view name_space) const;
  /// A namespace of typed_filter_metadata; nothing if it was not sent.
  [[nodiscard]] std::optional<TypedMetadata> typed(std::string_view name_space) const;

 private:
  struct State;
  std::unique_ptr<State> state_;  // decodes on demand; null until something comes
};

}  // namespace extprocd::wire
