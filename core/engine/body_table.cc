// The host functions by which a plugin changes a body: extproc.body/1.

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/host_call.h"

namespace extprocd::engine {
namespace {

extproc_status refuse_edit(extproc_call* call) {
  const bool body_phase = call->phase == EXTPROC_REQUEST_BODY || call->phase == EXTPROC_RESPONSE_BODY;
  if (!body_phase || !call->may_edit) {
    return refuse(call, EXTPROC_TOO_LATE, "a body can be changed only in its own phase, in on_phase");
  }
  return refuse(call, EXTPROC_UNSUPPORTED,
                "the plugin's access to this body is observing: declare edit_chunk, whole or stream");
}

extproc_status write(extproc_call* call, extproc_str bytes) {
  return guarded(call, [&]() -> extproc_status {
    if (call->body == nullptr) return refuse_edit(call);
    BodyEdit& edit = *call->body;
    if (bytes.data == nullptr && bytes.size > 0) return refuse(call, EXTPROC_INVALID, "a null pointer");
    if (bytes.size > call->exchange.max_written - edit.written) {
      return refuse(call, EXTPROC_LIMIT, "more than server.limits.max_message_size in one callback");
    }
    edit.written += bytes.size;
    edit.out.add_copy(from_abi(bytes));
    edit.edited = edit.edited || bytes.size > 0 || edit.in.of_messages();
    return EXTPROC_OK;
  });
}

/// Goes past the next `size` bytes of a body, after `use` has had the place behind them.
template <typename Use>
extproc_status take(extproc_call* call, size_t size, Use use) {
  return guarded(call, [&]() -> extproc_status {
    if (call->body == nullptr) return refuse_edit(call);
    BodyEdit& edit = *call->body;
    const auto behind = edit.in.advance(edit.at, size);
    if (edit.in.of_messages() && behind.offset > 0) {
      return refuse(call, EXTPROC_UNSUPPORTED,
                    "in body mode GRPC only whole messages can be forwarded or dropped");
    }
    use(edit, behind);
    edit.at = behind;
    return EXTPROC_OK;
  });
}

extproc_status forward(extproc_call* call, size_t size) {
  return take(call, size, [](BodyEdit& edit, http::BodyBuffer::Place behind) {
    edit.out.add_between(edit.in, edit.at, behind);
  });
}

extproc_status drop(extproc_call* call, size_t size) {
  return take(call, size, [](BodyEdit& edit, http::BodyBuffer::Place behind) {
    edit.edited = edit.edited || behind.slice != edit.at.slice || behind.offset != edit.at.offset;
  });
}

}  // namespace

const extproc_body_api& body_extension() {
  static constexpr extproc_body_api kTable = {sizeof(extproc_body_api), 0, &write, &forward, &drop};
  return kTable;
}

}  // namespace extprocd::engine
