#include "core/transport/h2/request_head.h"

#include <algorithm>

#include "core/transport/h2/grpc_protocol.h"

namespace extprocd::transport::h2 {
namespace {

constexpr std::size_t kEntryOverhead = 32;  // RFC 9113, section 6.5.2
// gRPC's reserved names that are not handed on, as in grpc++.
constexpr std::string_view kReserved = "grpc-";

}  // namespace

void RequestHead::clear() {
  size_ = 0;
  bytes_.clear();
  method_ = path_ = content_type_ = timeout_ = encoding_ = malformed_ = {};
  entries_.clear();
  metadata_.clear();
}

void RequestHead::add(std::string_view name, std::string_view value) {
  size_ += name.size() + value.size() + kEntryOverhead;
  if (is_too_large()) return;
  if (Place* place = own_place(name)) {
    *place = keep(value);
  } else if (name.front() == ':' || name == "te" || name.starts_with(kReserved)) {
    return;
  } else if (name.ends_with("-bin")) {
    add_binary(name, value);
  } else {
    entries_.emplace_back(keep(name), keep(value));
  }
}

/// Where the value of a name goes that the transport itself reads; null for others.
RequestHead::Place* RequestHead::own_place(std::string_view name) {
  switch (name.size()) {
    case 5:
      return name == ":path" ? &path_ : nullptr;
    case 7:
      return name == ":method" ? &method_ : nullptr;
    case 12:
      if (name == "content-type") return &content_type_;
      return name == "grpc-timeout" ? &timeout_ : nullptr;
    case 13:
      return name == "grpc-encoding" ? &encoding_ : nullptr;
    default:
      return nullptr;
  }
}

RequestHead::Place RequestHead::keep(std::string_view text) {
  const Place place{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(text.size())};
  bytes_.append(text);
  return place;
}

void RequestHead::add_binary(std::string_view name, std::string_view value) {
  while (true) {
    const std::size_t comma = std::min(value.find(','), value.size());
    const auto bytes = decode_binary(value.substr(0, comma));
    if (!bytes) {
      malformed_ = keep(name);
      return;
    }
    entries_.emplace_back(keep(name), keep(*bytes));
    if (comma == value.size()) return;
    value.remove_prefix(comma + 1);
  }
}

void RequestHead::complete() {
  metadata_.reserve(entries_.size());
  for (const auto& [name, value] : entries_) metadata_.emplace_back(view(name), view(value));
}

}  // namespace extprocd::transport::h2
