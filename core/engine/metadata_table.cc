// The host functions for attributes and metadata.

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/host_call.h"

namespace extprocd::engine {
namespace {

extproc_status hand_out(extproc_call* call, const std::optional<std::string>& text, extproc_str* value) {
  if (value == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
  if (!text) return EXTPROC_NOT_FOUND;
  *value = to_abi(call->exchange.arena.copy(*text));
  return EXTPROC_OK;
}

extproc_status attribute(extproc_call* call, extproc_str name, extproc_str* value) {
  return guarded(call, [&] { return hand_out(call, call->exchange.attributes.get(from_abi(name)), value); });
}

extproc_status metadata(extproc_call* call, extproc_str name_space, extproc_str key, extproc_str* value) {
  return guarded(call, [&] {
    return hand_out(call, call->exchange.metadata.get(from_abi(name_space), from_abi(key)), value);
  });
}

/// Does what sets dynamic metadata, where it may be set.
template <typename Set>
extproc_status change(extproc_call* call, Set&& set) {
  return guarded(call, [&]() -> extproc_status {
    if (!call->may_edit)
      return refuse(call, EXTPROC_TOO_LATE, "dynamic metadata can be set only in on_phase");
    const absl::Status done = set(call->exchange.dynamic_metadata);
    if (done.ok()) return EXTPROC_OK;
    const bool limit = done.code() == absl::StatusCode::kResourceExhausted;
    const std::string_view reason = call->exchange.arena.copy({done.message().data(), done.message().size()});
    return refuse(call, limit ? EXTPROC_LIMIT : EXTPROC_INVALID, reason);
  });
}

template <typename Value>
extproc_status set_metadata(extproc_call* call, extproc_str name_space, extproc_str key, Value value) {
  return change(call, [&](wire::DynamicMetadata& metadata) {
    return metadata.set(from_abi(name_space), from_abi(key), value);
  });
}

extproc_status set_string(extproc_call* call, extproc_str name_space, extproc_str key, extproc_str value) {
  return set_metadata(call, name_space, key, from_abi(value));
}
extproc_status set_number(extproc_call* call, extproc_str name_space, extproc_str key, double value) {
  return set_metadata(call, name_space, key, value);
}
extproc_status set_bool(extproc_call* call, extproc_str name_space, extproc_str key, uint32_t value) {
  return set_metadata(call, name_space, key, value != 0);
}

}  // namespace

const extproc_metadata_api& metadata_extension() {
  static constexpr extproc_metadata_api kTable = {
      sizeof(extproc_metadata_api), 0, &attribute, &metadata, &set_string, &set_number, &set_bool};
  return kTable;
}

}  // namespace extprocd::engine
