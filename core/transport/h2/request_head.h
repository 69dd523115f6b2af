#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/seam.h"

namespace extprocd::transport::h2 {

/// The header list that opens a gRPC stream, taken apart. One object serves all streams of a connection.
class RequestHead {
 public:
  /// `max_size`: of a list, as HTTP/2 counts it (RFC 9113, section 10.5.1).
  explicit RequestHead(std::size_t max_size) : max_size_(max_size) {}

  void clear();
  void add(std::string_view name, std::string_view value);
  /// The list is whole: the views below may be used, until clear().
  void complete();

  [[nodiscard]] bool is_too_large() const { return size_ > max_size_; }
  [[nodiscard]] std::string_view method() const { return view(method_); }
  [[nodiscard]] std::string_view path() const { return view(path_); }
  [[nodiscard]] std::string_view content_type() const { return view(content_type_); }
  [[nodiscard]] std::string_view timeout() const { return view(timeout_); }    ///< grpc-timeout
  [[nodiscard]] std::string_view encoding() const { return view(encoding_); }  ///< grpc-encoding
  /// What the application sees: not what HTTP/2 and gRPC keep for themselves. Values of names in -bin are
  /// decoded, and one by one.
  [[nodiscard]] std::span<const engine::MetadataEntry> metadata() const { return metadata_; }
  /// A name in -bin whose value is not base64; empty: there is none.
  [[nodiscard]] std::string_view malformed() const { return view(malformed_); }

 private:
  /// A place in bytes_, which grows.
  struct Place {
    uint32_t begin = 0;
    uint32_t size = 0;
  };

  Place keep(std::string_view text);
  Place* own_place(std::string_view name);
  void add_binary(std::string_view name, std::string_view value);
  [[nodiscard]] std::string_view view(Place place) const {
    return std::string_view(bytes_).substr(place.begin, place.size);
  }

  const std::size_t max_size_;
  std::size_t size_ = 0;
  std::string bytes_;
  Place method_, path_, content_type_, timeout_, encoding_, malformed_;
  std::vector<std::pair<Place, Place>> entries_;
  std::vector<engine::MetadataEntry> metadata_;
};

}  // namespace extprocd::transport::h2
