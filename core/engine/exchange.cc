#include "core/engine/exchange.h"

#include "core/engine/abi_text.h"

namespace extprocd::engine {
namespace {

constexpr std::size_t kRoomForPlugins = 384;  // in the block of the first headers: states and a few edits

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

void Exchange::keep_headers(uint32_t phase, const wire::RequestView& message) {
  http::HeaderMap& map = *this->map(phase);
  const std::span<const wire::HeaderView> headers = message.headers();
  const std::string_view source = message.header_bytes();
  arena.reserve(source.size() + http::HeaderMap::room_for(headers.size()) +
                (phase == EXTPROC_REQUEST_HEADERS ? kRoomForPlugins : alignof(extproc_header)));
  map.begin_original(headers.size(), arena);
  const std::string_view copy = arena.copy(source);
  const auto moved = [&](std::string_view text) {
    return text.empty() ? std::string_view()
                        : std::string_view(copy.data() + (text.data() - source.data()), text.size());
  };
  for (const wire::HeaderView& header : headers) {
    const std::string_view name = moved(header.name);
    map.add_original_lower_case(message.has_upper_case_names() ? http::lower_case(name, arena) : name,
                                moved(header.value), arena);
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
