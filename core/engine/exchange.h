#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <extproc/abi.h>

#include "core/engine/seam.h"
#include "core/engine/store.h"
#include "core/http/arena.h"
#include "core/http/header_map.h"
#include "core/http/mutation_rules.h"
#include "core/wire/attributes.h"
#include "core/wire/dynamic_metadata.h"
#include "core/wire/request_view.h"

namespace extprocd::engine {

/// A local reply that a plugin gave, or that a plugin's failure policy made. Its headers are in the
/// exchange's local-reply map.
struct LocalReply {
  uint32_t status = 0;
  std::string body;
  std::string details;
  std::optional<uint32_t> grpc_status;
};

/// What one HTTP request and its response are to the plugins of a stream: header maps, body piece, metadata,
/// store. Belongs to one stream; one thread at a time.
class Exchange {
 public:
  Exchange(uint64_t id, const StreamFacts& facts, const http::MutationRules& rules);

  /// What plugins are told of the chain; before the first of them runs. The name outlives the exchange.
  void set_chain(std::string_view name);

  /// The map of a headers or trailers phase (EXTPROC_*), or of EXTPROC_LOCAL_REPLY; null for body phases and
  /// others.
  http::HeaderMap* map(uint32_t phase);

  /// Gives a headers or trailers phase its map. Copies the headers, which may be read as long as the stream, while the
  /// message that brought them is gone when it has been answered.
  void keep_headers(uint32_t phase, const wire::RequestView& message);

  http::Arena arena;
  std::span<const extproc_str> body;  ///< of the current body phase
  wire::AttributeReader attributes;
  wire::MetadataReader metadata;
  wire::DynamicMetadata dynamic_metadata;  ///< set since the last reply
  Store store;
  bool clear_route_cache = false;
  bool grpc_data_plane = false;                         ///< whose rules for header changes are gRFC A93's
  std::shared_ptr<const std::string> replacement_body;  ///< of the current headers phase; null: none
  bool reply_possible = true;                           ///< can an immediate response still go out?
  uint32_t local_reply_status = 0;  ///< HTTP status of the immediate response that was sent

  extproc_stream_facts facts{};
  const http::MutationRules& rules;

 private:
  std::array<http::HeaderMap, 5> maps_;
};

}  // namespace extprocd::engine
