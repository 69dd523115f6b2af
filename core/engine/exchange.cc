#include "core/engine/exchange.h"

#include <utility>

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

Exchange::Exchange(const Exchange& other, const extproc_stream_facts& of_facts)
    : attributes(other.attributes.copy()),
      metadata(other.metadata.copy()),
      dynamic_metadata(other.dynamic_metadata.detached()),
      store(other.store),
      replacement_body(other.replacement_body),
      local_reply_status(other.local_reply_status),
      max_written(other.max_written),
      extended_timeout(other.extended_timeout),
      longest_timeout(other.longest_timeout),
      time_asked_for(other.time_asked_for),
      clear_route_cache(other.clear_route_cache),
      grpc_data_plane(other.grpc_data_plane),
      replies_in_pieces(other.replies_in_pieces),
      reply_possible(other.reply_possible),
      headers_held(other.headers_held),
      facts(of_facts),
      rules(other.rules) {
  for (std::size_t i = 0; i < maps_.size(); ++i) {
    if (!other.maps_[i].present()) continue;
    maps_[i].copy(other.maps_[i], arena);
    maps_[i].begin_undo();
  }
}

void Exchange::take_over(Exchange& copy, uint32_t phase) {
  const http::HeaderMap* const edited = copy.editable_map(phase);
  if (edited != nullptr && edited->edited_since_undo_point()) editable_map(phase)->take_over(*edited, arena);
  http::HeaderMap& reply = *copy.map(EXTPROC_LOCAL_REPLY);
  if (reply.present()) map(EXTPROC_LOCAL_REPLY)->copy(reply, arena);
  dynamic_metadata = std::move(copy.dynamic_metadata);
  store = std::move(copy.store);
  replacement_body = std::move(copy.replacement_body);
  if (!time_asked_for) extended_timeout = copy.extended_timeout;
  clear_route_cache = copy.clear_route_cache;
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
