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
#include "core/wire/body_mode.h"
#include "core/wire/direction.h"
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
  bool in_pieces = false;  ///< `body` is the first of several, the others come with the request's body
  bool complete = true;    ///< no more pieces come
  std::vector<std::pair<std::string, std::string>> trailers;  ///< of a complete reply in pieces
};

/// What one HTTP request and its response are to the plugins of a stream: header maps, body piece, metadata,
/// store. Belongs to one stream; one thread at a time.
class Exchange {
 public:
  Exchange(uint64_t id, const StreamFacts& facts, const http::MutationRules& rules);

  /// A copy for a callback on another thread: what can be read and changed, with nothing in common but `rules` and what
  /// `of_facts` point to. It has no body.
  Exchange(const Exchange& other, const extproc_stream_facts& of_facts);
  /// Takes over what a callback has made of such a copy, as its edits in a phase.
  void take_over(Exchange& copy, uint32_t phase);

  /// What plugins are told of the chain; before the first of them runs. The name outlives the exchange.
  void set_chain(std::string_view name);

  /// The map of a headers or trailers phase (EXTPROC_*), or of EXTPROC_LOCAL_REPLY; null for body phases and
  /// others.
  http::HeaderMap* map(uint32_t phase);

  /// The body mode of a direction, as plugins are told; nothing if it is not known.
  [[nodiscard]] std::optional<wire::BodyMode> body_mode(wire::Direction direction) const {
    const bool request = direction == wire::Direction::kRequest;
    const uint32_t mode = request ? facts.request_body_mode : facts.response_body_mode;
    if (mode == EXTPROC_BODY_UNKNOWN) return std::nullopt;
    return static_cast<wire::BodyMode>(mode);
  }

  /// The map that can be changed in a phase: its own, or in a body phase that of held headers; null if there is none.
  http::HeaderMap* editable_map(uint32_t phase) {
    if (phase == EXTPROC_REQUEST_BODY) return headers_held[0] ? map(EXTPROC_REQUEST_HEADERS) : nullptr;
    if (phase == EXTPROC_RESPONSE_BODY) return headers_held[1] ? map(EXTPROC_RESPONSE_HEADERS) : nullptr;
    return map(phase);
  }

  /// Gives a headers or trailers phase its map. Copies the headers, which may be read as long as the stream, while the
  /// message that brought them is gone when it has been answered.
  void keep_headers(uint32_t phase, const wire::RequestView& message);

  http::Arena arena;
  std::span<const extproc_str> body;  ///< of the current body phase
  wire::AttributeReader attributes;
  wire::MetadataReader metadata;
  wire::DynamicMetadata dynamic_metadata;  ///< set since the last reply
  Store store;
  std::shared_ptr<const std::string> replacement_body;  ///< of the current headers phase; null: none
  uint32_t local_reply_status = 0;  ///< HTTP status of the immediate response that was sent
  uint32_t max_written =
      64U << 20;  ///< bytes that a plugin may add to a body, or to its reply, in one callback
  uint32_t extended_timeout =
      0;  ///< milliseconds that a plugin asked for to answer the message at hand; 0: none
  uint32_t longest_timeout = 0;  ///< that may be asked for; 0: none, for want of a timer or of permission
  bool time_asked_for = false;   ///< of the data plane, for the message at hand
  bool clear_route_cache = false;
  bool grpc_data_plane = false;  ///< whose rules for header changes are gRFC A93's
  bool replies_in_pieces =
      false;                   ///< does the data plane take a local reply in pieces, for the message at hand?
  bool reply_possible = true;  ///< can an immediate response still go out?
  /// By wire::Direction, in a body phase: does the data plane still have the headers, so that they can be changed?
  std::array<bool, 2> headers_held{};

  extproc_stream_facts facts{};
  const http::MutationRules& rules;

 private:
  std::array<http::HeaderMap, 5> maps_;
};

}  // namespace extprocd::engine
