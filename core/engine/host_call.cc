#include "core/engine/host_call.h"

#include <cstddef>
#include <string>

namespace extprocd::engine {

using telemetry::Refusal;

extproc_status refuse(extproc_call* call, extproc_status status, std::string_view reason) {
  call->last_error = reason;
  Refusal kind{};
  switch (status) {
    case EXTPROC_INVALID:
      kind = Refusal::kInvalid;
      break;
    case EXTPROC_FORBIDDEN:
      kind = Refusal::kForbidden;
      break;
    case EXTPROC_TOO_LATE:
      kind = Refusal::kTooLate;
      break;
    case EXTPROC_LIMIT:
      kind = Refusal::kLimit;
      break;
    case EXTPROC_UNSUPPORTED:
      kind = Refusal::kUnsupported;
      break;
    default:
      return status;  // looking for something that is not there is no refusal
  }
  call->link.host->metrics().refused[static_cast<std::size_t>(kind)]->add();
  return status;
}

extproc_status refuse_header(extproc_call* call, extproc_status status, std::string_view name,
                             std::string_view reason) {
  const std::string text = "header '" + std::string(name.substr(0, 100)) + "': " + std::string(reason);
  return refuse(call, status, call->exchange.arena.copy(text));
}

std::string_view header_refusal(const Exchange& exchange, http::MapKind map, http::Operation operation,
                                std::string_view name, std::string_view value, bool replacing) {
  const std::string_view reason = exchange.grpc_data_plane ? http::grpc_refusal(name) : "";
  return reason.empty() ? http::refusal(exchange.rules, map, operation, name, value, replacing) : reason;
}

}  // namespace extprocd::engine
