#include "core/http/mutation_rules.h"

#include <algorithm>

#include "core/http/header_syntax.h"

namespace extprocd::http {
namespace {

bool is_routing_header(std::string_view name) {
  return name == "host" || name == ":authority" || name == ":scheme" || name == ":method";
}

bool is_request(MapKind map) { return map == MapKind::kRequestHeaders; }
bool is_response(MapKind map) { return map == MapKind::kResponseHeaders; }

std::string_view pseudo_header_refusal(MapKind map, Operation operation, std::string_view name,
                                       std::string_view value) {
  if (operation == Operation::kRemove) return "the data plane never removes a pseudo-header";
  if (operation == Operation::kAdd) return "a pseudo-header has one value; set it instead";
  if (name == ":status") {
    if (!is_response(map)) return ":status belongs to response headers";
    return parse_status(value) >= 200 ? "" : ":status must be a number from 200 to 599";
  }
  const bool known = name == ":path" || name == ":method" || name == ":scheme" || name == ":authority";
  if (!known) return "no such pseudo-header can be set";
  if (!is_request(map)) return "this pseudo-header belongs to request headers";
  return value.empty() ? "a pseudo-header may not be empty" : "";
}

}  // namespace

bool matches_any(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [name](const std::string& pattern) {
    if (!pattern.ends_with('*')) return pattern == name;
    return name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  });
}

std::string_view grpc_refusal(std::string_view name) {
  const bool fails = name.starts_with(':') || name.starts_with("grpc-") || name == "host";
  return fails ? "a gRPC data plane fails the stream over a change of this header" : "";
}

std::string_view refusal(const MutationRules& rules, MapKind map, Operation operation, std::string_view name,
                         std::string_view value, bool replacing) {
  // Envoy checks these before any rule.
  if (name.starts_with(':')) {
    const std::string_view reason = pseudo_header_refusal(map, operation, name, value);
    if (!reason.empty()) return reason;
  } else if (name == "host" && operation == Operation::kRemove) {
    return "the data plane never removes host";
  }
  if (matches_any(rules.disallow, name)) return "refused by mutation_rules.disallow";
  if (matches_any(rules.allow, name)) return "";
  if (rules.disallow_all) return "refused by mutation_rules.disallow_all";
  if (rules.disallow_system && name.starts_with(':')) return "refused by mutation_rules.disallow_system";
  if (is_routing_header(name) && !rules.allow_all_routing && !(replacing && name == ":method")) {
    return "the data plane ignores changes of routing headers unless mutation_rules.allow_all_routing is set "
           "there and "
           "here";
  }
  if (name.starts_with("x-envoy") && !rules.allow_envoy) {
    return "the data plane ignores changes of x-envoy-* headers unless mutation_rules.allow_envoy is set "
           "there and here";
  }
  return "";
}

}  // namespace extprocd::http
