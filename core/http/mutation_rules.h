#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace extprocd::http {

/// Which headers may be changed. The words and defaults are those of Envoy's HeaderMutationRules: what it
/// would refuse, silently or with a 500 for the whole request, is refused at the call that asks for it.
struct MutationRules {
  bool allow_all_routing = false;  ///< host, :authority, :scheme, :method may be set
  bool allow_envoy = false;        ///< x-envoy-* may be changed
  bool disallow_system = false;    ///< no header that begins with ':' may be changed
  bool disallow_all = false;       ///< only what `allow` names may be changed
  std::vector<std::string>
      allow;  ///< lower-case names, or prefixes ending in '*', allowed whatever the above says
  std::vector<std::string> disallow;  ///< likewise, refused whatever the above and `allow` say
  uint32_t max_headers =
      100;  ///< entries that a map may have after the edits, and names changed in one reply
  uint32_t max_headers_kib = 60;  ///< names and values of a map together after the edits, in KiB
};

/// Which map a change is for.
enum class MapKind : uint8_t {
  kRequestHeaders,
  kRequestTrailers,
  kResponseHeaders,
  kResponseTrailers,
  kLocalReply
};

/// What is wanted of a header.
enum class Operation : uint8_t { kSet, kAdd, kRemove };

/// Why a change is refused: empty if it is allowed. `name` is in lower case and valid in syntax. `replacing`:
/// the message is sent with CONTINUE_AND_REPLACE, where Envoy lets :method be set.
std::string_view refusal(const MutationRules& rules, MapKind map, Operation operation, std::string_view name,
                         std::string_view value, bool replacing);

/// Why a gRPC data plane would fail its stream over a change of this header, whatever it is configured to (gRFC
/// A93): empty if it would not. `name` as for refusal().
std::string_view grpc_refusal(std::string_view name);

/// Does one of the patterns (exact names, prefixes ending in '*') match the lower-case name?
bool matches_any(const std::vector<std::string>& patterns, std::string_view name);

}  // namespace extprocd::http
