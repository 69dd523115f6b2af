#pragma once

#include <exception>
#include <string_view>

#include <extproc/abi.h>

#include "core/engine/call.h"
#include "core/http/mutation_rules.h"

namespace extprocd::engine {

/// How a function that a plugin calls refuses: answers `status`, keeps `reason` for last_error(), and counts it.
/// `reason` is static, or in the exchange's arena.
extproc_status refuse(extproc_call* call, extproc_status status, std::string_view reason);
/// The same with a text that names a header.
extproc_status refuse_header(extproc_call* call, extproc_status status, std::string_view name,
                             std::string_view reason);
/// Why the data plane would not take a change of a header; empty if it would.
std::string_view header_refusal(const Exchange& exchange, http::MapKind map, http::Operation operation,
                                std::string_view name, std::string_view value, bool replacing);

/// Runs what may allocate: no exception may reach the plugin.
template <typename Body>
extproc_status guarded(extproc_call* call, Body body) noexcept {
  try {
    call->last_error = {};
    return body();
  } catch (const std::exception&) {
    call->last_error = "the host is out of memory";
    return EXTPROC_LIMIT;
  }
}

}  // namespace extprocd::engine
