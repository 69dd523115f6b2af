#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace extprocd::config {

/// A text to compare with: "exact", "begins*", "*ends", or "*" for anything. ASCII case counts.
struct TextPattern {
  enum class Kind : uint8_t { kExact, kPrefix, kSuffix };
  Kind kind = Kind::kExact;
  std::string text;  ///< without the star; "*" is the empty prefix

  /// Reads the notation above; a star elsewhere stands for itself.
  static TextPattern parse(std::string_view notation);

  [[nodiscard]] bool fits(std::string_view value) const;
  /// Does everything that fits `other` fit this?
  [[nodiscard]] bool covers(const TextPattern& other) const;
  /// Can anything fit both?
  [[nodiscard]] bool overlaps(const TextPattern& other) const;
  /// In the notation of parse().
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const TextPattern&, const TextPattern&) = default;
};

using TextPatterns = std::vector<TextPattern>;

/// Does the value fit one of the patterns?
bool fits_any(const TextPatterns& patterns, std::string_view value);

/// The values that a named thing (header, gRPC metadata, attribute) may have; one of them must fit.
struct NamedPatterns {
  std::string name;  ///< headers and metadata in lower case
  TextPatterns patterns;
};

/// What a request must be like. Every part that is not empty must fit; within a part, one entry must.
struct RequestMatch {
  TextPatterns authority;  ///< host names in lower case; without a port in the pattern, any port fits
  TextPatterns path;       ///< of the path without its query
  TextPatterns method;
  std::vector<NamedPatterns> header;
  std::vector<NamedPatterns> metadata;   ///< of the gRPC stream
  std::vector<NamedPatterns> attribute;  ///< that the data plane was configured to send

  [[nodiscard]] bool empty() const;
  /// Does it look at the request's headers (pseudo-headers are headers)?
  [[nodiscard]] bool needs_headers() const;
  /// Does every request that fits `other` fit this? False where that cannot be told.
  [[nodiscard]] bool covers(const RequestMatch& other) const;
  /// Is it certain that no request can fit both?
  [[nodiscard]] bool excludes(const RequestMatch& other) const;
  /// "path_prefix /api/, method GET or HEAD"; empty if it is empty.
  [[nodiscard]] std::string to_string() const;
};

/// HTTP statuses from `least` to `most`.
struct StatusRange {
  uint32_t least = 0;
  uint32_t most = 0;
};

/// When a plugin takes part: [plugin.when].
struct When {
  RequestMatch request;             ///< decides on the whole stream
  std::vector<StatusRange> status;  ///< decides on the response's phases
  TextPatterns content_type;  ///< media type in lower case; decides on each direction by its own headers

  [[nodiscard]] bool empty() const { return request.empty() && status.empty() && content_type.empty(); }
  [[nodiscard]] std::string to_string() const;
};

}  // namespace extprocd::config
