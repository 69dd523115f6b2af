#include "core/engine/exchange.h"

#include "core/engine/abi_text.h"

namespace extprocd::engine {

Exchange::Exchange(uint64_t id, const StreamFacts& stream_facts, const http::MutationRules& mutation_rules)
    : rules(mutation_rules), peer_(stream_facts.peer), metadata_storage_(stream_facts.metadata) {
  metadata_views_.reserve(metadata_storage_.size());
  for (const auto& [name, value] : metadata_storage_)
    metadata_views_.push_back({to_abi(name), to_abi(value)});
  facts.struct_size = sizeof facts;
  facts.id = id;
  facts.peer = to_abi(peer_);
  facts.request_body_mode = EXTPROC_BODY_UNKNOWN;
  facts.response_body_mode = EXTPROC_BODY_UNKNOWN;
  facts.metadata = metadata_views_.data();
  facts.metadata_count = metadata_views_.size();
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
