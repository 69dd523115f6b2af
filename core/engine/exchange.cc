#include "core/engine/exchange.h"

#include <algorithm>

#include "core/engine/abi_text.h"

namespace extprocd::engine {
namespace {

constexpr std::size_t kRoomForPlugins = 384;  // in the block of the first headers: states and a few edits

/// The bytes of a message from the first header's to the last one's.
std::string_view extent_of(std::span<const wire::HeaderView> headers) {
  const char* begin = nullptr;
  const char* end = nullptr;
  const auto include = [&](std::string_view text) {
    if (text.empty()) return;
    begin = begin == nullptr ? text.data() : std::min(begin, text.data());
    end = end == nullptr ? text.data() + text.size() : std::max(end, text.data() + text.size());
  };
  for (const wire::HeaderView& header : headers) {
    include(header.name);
    include(header.value);
  }
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

Exchange::Exchange(uint64_t id, const StreamFacts& stream_facts, const http::MutationRules& mutation_rules)
    : rules(mutation_rules) {
  const std::size_t count = stream_facts.metadata.size();
  auto* entries =
      static_cast<extproc_header*>(arena.allocate(count * sizeof(extproc_header), alignof(extproc_header)));
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [name, value] = stream_facts.metadata[i];
    entries[i] = {to_abi(arena.copy(name)), to_abi(arena.copy(value))};
  }
  facts.struct_size = sizeof facts;
  facts.id = id;
  facts.peer = to_abi(arena.copy(stream_facts.peer));
  facts.request_body_mode = EXTPROC_BODY_UNKNOWN;
  facts.response_body_mode = EXTPROC_BODY_UNKNOWN;
  facts.metadata = entries;
  facts.metadata_count = count;
}

void Exchange::keep_headers(uint32_t phase, std::span<const wire::HeaderView> headers) {
  http::HeaderMap& map = *this->map(phase);
  const std::string_view source = extent_of(headers);
  arena.reserve(source.size() + headers.size() * sizeof(extproc_header) +
                (phase == EXTPROC_REQUEST_HEADERS ? kRoomForPlugins : alignof(extproc_header)));
  map.begin_original(headers.size(), arena);
  const std::string_view copy = arena.copy(source);
  const auto moved = [&](std::string_view text) {
    return text.empty() ? std::string_view()
                        : copy.substr(static_cast<std::size_t>(text.data() - source.data()), text.size());
  };
  for (const wire::HeaderView& header : headers) {
    map.add_original(moved(header.name), moved(header.value), arena);
  }
}

void Exchange::set_chain(std::string_view name) { facts.chain = to_abi(name); }

http::HeaderMap* Exchange::map(uint32_t phase) {
  switch (phase) {
    case EXTPROC_REQUEST_HEADERS:
      return &maps_[0];
    case EXTPROC_REQUEST_TRAILERS:
      return &maps_[1];
    case EXTPROC_RESPONSE_HEADERS:
      return &maps_[2];
    case EXTPROC_RESPONSE_TRAILERS:
      return &maps_[3];
    case EXTPROC_LOCAL_REPLY:
      return &maps_[4];
    default:
      return nullptr;
  }
}

}  // namespace extprocd::engine
