// The host functions that act on one callback in flight: headers, body, failure, store.

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/host_call.h"
#include "core/http/header_syntax.h"
#include "core/http/mutation_rules.h"

namespace extprocd::engine {
namespace {

extproc_str last_error(extproc_call* call) { return to_abi(call->last_error); }

const extproc_stream_facts* facts(extproc_call* call) { return call->facts; }

extproc_status headers(extproc_call* call, uint32_t map_id, const extproc_header** entries, size_t* count) {
  return guarded(call, [&]() -> extproc_status {
    const http::HeaderMap* map = call->exchange.map(map_id);
    if (map == nullptr || entries == nullptr || count == nullptr) {
      return refuse(call, EXTPROC_INVALID, "no such header map, or a null pointer");
    }
    if (!map->present())
      return refuse(call, EXTPROC_NOT_FOUND, "this header map has not come on this stream");
    *entries = map->entries().data();
    *count = map->entries().size();
    return EXTPROC_OK;
  });
}

extproc_status header_get(extproc_call* call, uint32_t map_id, extproc_str name, extproc_str* value) {
  return guarded(call, [&]() -> extproc_status {
    const http::HeaderMap* map = call->exchange.map(map_id);
    if (map == nullptr || value == nullptr) {
      return refuse(call, EXTPROC_INVALID, "no such header map, or a null pointer");
    }
    const auto found = map->first(from_abi(name));
    if (!found) return EXTPROC_NOT_FOUND;
    *value = to_abi(*found);
    return EXTPROC_OK;
  });
}

http::MapKind kind_of(uint32_t map_id) {
  switch (map_id) {
    case EXTPROC_REQUEST_HEADERS:
      return http::MapKind::kRequestHeaders;
    case EXTPROC_REQUEST_TRAILERS:
      return http::MapKind::kRequestTrailers;
    case EXTPROC_RESPONSE_HEADERS:
      return http::MapKind::kResponseHeaders;
    case EXTPROC_RESPONSE_TRAILERS:
      return http::MapKind::kResponseTrailers;
    default:
      return http::MapKind::kLocalReply;
  }
}

/// Would the data plane refuse the map for its size after this edit?
bool over_limit(const Exchange& exchange, const http::HeaderMap& map, http::Operation operation,
                std::string_view name, std::string_view value) {
  // A data plane that sent more than the default limit has a higher one.
  const auto is_too_much = [&](std::size_t entries, std::size_t bytes) {
    return entries > std::max<std::size_t>(exchange.rules.max_headers, map.original().size()) ||
           (bytes > std::size_t{exchange.rules.max_headers_kib} * 1024 &&
            bytes > http::byte_size(map.original()));
  };
  std::size_t entries = map.entries().size() + 1;
  std::size_t bytes = http::byte_size(map.entries()) + name.size() + value.size();
  if (!is_too_much(entries, bytes)) return false;
  if (operation == http::Operation::kAdd) return true;
  // What is replaced no longer counts.
  for (const auto& entry : map.entries()) {
    if (from_abi(entry.name) != name) continue;
    --entries;
    bytes -= entry.name.size + entry.value.size;
  }
  return is_too_much(entries, bytes);
}

std::string_view too_late(uint32_t map_id, uint32_t phase) {
  const bool of_this_body = (map_id == EXTPROC_REQUEST_HEADERS && phase == EXTPROC_REQUEST_BODY) ||
                            (map_id == EXTPROC_RESPONSE_HEADERS && phase == EXTPROC_RESPONSE_BODY);
  if (of_this_body) {
    return "the headers have gone on: in a body phase they can be changed in body modes BUFFERED and "
           "BUFFERED_PARTIAL, and in FULL_DUPLEX_STREAMED if the headers phase asked for it (EXTPROC_HOLD)";
  }
  return "only the headers or trailers of the phase that on_phase is called for can be changed";
}

extproc_status edit(extproc_call* call, uint32_t map_id, http::Operation operation, extproc_str raw_name,
                    extproc_str raw_value) {
  return guarded(call, [&]() -> extproc_status {
    Exchange& exchange = call->exchange;
    http::HeaderMap* map = exchange.map(map_id);
    const std::string_view value = from_abi(raw_value);
    if (map == nullptr) return refuse(call, EXTPROC_INVALID, "no such header map");
    if (!map->present())
      return refuse(call, EXTPROC_NOT_FOUND, "this header map has not come on this stream");
    if (!call->may_edit || map != exchange.editable_map(call->phase)) {
      return refuse_header(call, EXTPROC_TOO_LATE, from_abi(raw_name), too_late(map_id, call->phase));
    }
    if (!http::is_valid_name(from_abi(raw_name))) {
      return refuse_header(call, EXTPROC_INVALID, from_abi(raw_name), "not a valid header name");
    }
    const std::string_view name = http::lower_case(from_abi(raw_name), exchange.arena);
    if (!http::is_valid_value(value)) {
      return refuse_header(call, EXTPROC_INVALID, name,
                           "the value has control characters or is longer than 16384 bytes");
    }
    const std::string_view reason = header_refusal(exchange, kind_of(map_id), operation, name, value,
                                                   exchange.replacement_body != nullptr);
    if (!reason.empty()) return refuse_header(call, EXTPROC_FORBIDDEN, name, reason);
    if (operation == http::Operation::kRemove) {
      if (map->touched() >= exchange.rules.max_headers && !map->first(name)) {
        return refuse_header(call, EXTPROC_LIMIT, name, "too many headers removed in one phase");
      }
      map->remove(name, exchange.arena);
      return EXTPROC_OK;
    }
    if (over_limit(exchange, *map, operation, name, value)) {
      return refuse_header(call, EXTPROC_LIMIT, name,
                           "the header map would pass mutation_rules.max_headers or max_headers_kib");
    }
    if (operation == http::Operation::kSet) {
      map->set(name, value, exchange.arena);
    } else {
      map->add(name, value, exchange.arena);
    }
    return EXTPROC_OK;
  });
}

extproc_status header_set(extproc_call* call, uint32_t map, extproc_str name, extproc_str value) {
  return edit(call, map, http::Operation::kSet, name, value);
}
extproc_status header_add(extproc_call* call, uint32_t map, extproc_str name, extproc_str value) {
  return edit(call, map, http::Operation::kAdd, name, value);
}
extproc_status header_remove(extproc_call* call, uint32_t map, extproc_str name) {
  return edit(call, map, http::Operation::kRemove, name, extproc_str{nullptr, 0});
}

extproc_status body(extproc_call* call, const extproc_str** slices, size_t* count) {
  if (slices == nullptr || count == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
  if (call->phase != EXTPROC_REQUEST_BODY && call->phase != EXTPROC_RESPONSE_BODY) {
    return refuse(call, EXTPROC_NOT_FOUND, "there is a body only in a body phase");
  }
  *slices = call->exchange.body.data();
  *count = call->exchange.body.size();
  return EXTPROC_OK;
}

extproc_status replace_body(extproc_call* call, extproc_str text) {
  return guarded(call, [&]() -> extproc_status {
    if (!call->may_edit) return refuse(call, EXTPROC_TOO_LATE, "a body can be replaced only in on_phase");
    const bool request = call->phase == EXTPROC_REQUEST_HEADERS;
    if (!request && call->phase != EXTPROC_RESPONSE_HEADERS) {
      return refuse(call, EXTPROC_UNSUPPORTED, "a body can be replaced only in a headers phase");
    }
    const auto& known = call->exchange.facts;
    if ((request ? known.request_body_mode : known.response_body_mode) == EXTPROC_BODY_GRPC) {
      return refuse(call, EXTPROC_UNSUPPORTED,
                    "a gRPC data plane cannot replace a body from the headers phase");
    }
    call->exchange.replacement_body = std::make_shared<const std::string>(from_abi(text));
    return EXTPROC_OK;
  });
}

void fail(extproc_call* call, uint32_t grpc_status, extproc_str text) {
  guarded(call, [&]() -> extproc_status {
    call->failure_code = grpc_status >= 1 && grpc_status <= 16 ? grpc_status : 2;
    call->failure_text = from_abi(text);
    return EXTPROC_OK;
  });
}

extproc_status clear_route_cache(extproc_call* call) {
  if (!call->may_edit)
    return refuse(call, EXTPROC_TOO_LATE, "the route cache can be cleared only in on_phase");
  if (call->phase != EXTPROC_REQUEST_HEADERS &&
      (call->phase != EXTPROC_REQUEST_BODY || call->exchange.editable_map(call->phase) == nullptr)) {
    return refuse(call, EXTPROC_UNSUPPORTED,
                  "the route cache can be cleared only while the request's headers can be changed");
  }
  call->exchange.clear_route_cache = true;
  return EXTPROC_OK;
}

extproc_status store_get(extproc_call* call, extproc_str key, extproc_str* value) {
  return guarded(call, [&]() -> extproc_status {
    if (value == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
    const auto found = call->exchange.store.get(from_abi(key));
    if (!found) return EXTPROC_NOT_FOUND;
    *value = to_abi(*found);
    return EXTPROC_OK;
  });
}

extproc_status store_set(extproc_call* call, extproc_str key, extproc_str value) {
  return guarded(call, [&]() -> extproc_status {
    if (call->exchange.store.set(from_abi(key), from_abi(value))) return EXTPROC_OK;
    return refuse(call, EXTPROC_LIMIT, "the stream's store is full (64 KiB)");
  });
}

extproc_status store_remove(extproc_call* call, extproc_str key) {
  return guarded(call, [&]() -> extproc_status {
    return call->exchange.store.remove(from_abi(key)) ? EXTPROC_OK : EXTPROC_NOT_FOUND;
  });
}

}  // namespace

void set_call_functions(extproc_host& table) {
  set_reply_function(table);
  table.last_error = &last_error;
  table.facts = &facts;
  table.headers = &headers;
  table.header_get = &header_get;
  table.header_set = &header_set;
  table.header_add = &header_add;
  table.header_remove = &header_remove;
  table.body = &body;
  table.replace_body = &replace_body;
  table.fail = &fail;
  table.clear_route_cache = &clear_route_cache;
}

const extproc_store_api& store_extension() {
  static constexpr extproc_store_api kTable = {sizeof(extproc_store_api), 0, &store_get, &store_set,
                                               &store_remove};
  return kTable;
}

}  // namespace extprocd::engine
