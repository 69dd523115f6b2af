// The host functions by which a plugin asks for fewer calls and for more time: extproc.control/1.

#include "core/engine/call.h"
#include "core/engine/host_call.h"

namespace extprocd::engine {
namespace {

constexpr uint32_t kPhases = EXTPROC_PHASE_BIT(EXTPROC_PHASE_COUNT) - 1;

extproc_status skip(extproc_call* call, uint32_t phases) {
  if ((phases & ~kPhases) != 0) return refuse(call, EXTPROC_INVALID, "not a phase: use EXTPROC_PHASE_BIT");
  call->last_error = {};
  call->unwanted |= phases;
  return EXTPROC_OK;
}

extproc_status extend_timeout(extproc_call* call, uint64_t milliseconds) {
  Exchange& exchange = call->exchange;
  if (!call->may_edit) return refuse(call, EXTPROC_TOO_LATE, "more time can be asked for only in on_phase");
  if (milliseconds == 0) return refuse(call, EXTPROC_INVALID, "at least 1 millisecond");
  if (milliseconds > exchange.longest_timeout) {
    return refuse(
        call, EXTPROC_UNSUPPORTED,
        exchange.longest_timeout == 0
            ? "the data plane has no timer for this message, or data_plane.max_message_timeout is not stated"
            : "more than data_plane.max_message_timeout");
  }
  if (exchange.extended_timeout != 0 || exchange.time_asked_for)
    return refuse(call, EXTPROC_LIMIT, "more time was asked for already");
  call->last_error = {};
  exchange.extended_timeout = static_cast<uint32_t>(milliseconds);
  return EXTPROC_OK;
}

}  // namespace

const extproc_control_api& control_extension() {
  static constexpr extproc_control_api kTable = {sizeof(extproc_control_api), 0, &skip, &extend_timeout};
  return kTable;
}

}  // namespace extprocd::engine
