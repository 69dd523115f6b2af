#include "core/engine/host_call.h"

#include <cstddef>

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

}  // namespace extprocd::engine
