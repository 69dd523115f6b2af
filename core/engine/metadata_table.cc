// The host functions for attributes and metadata, in both revisions.

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

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

using wire::Value;

const extproc_value* lent(const Value* value) { return reinterpret_cast<const extproc_value*>(value); }

const Value& value_of(const extproc_value* value) {
  static const Value kNull;
  return value == nullptr ? kNull : *reinterpret_cast<const Value*>(value);
}

extproc_status hand_out(extproc_call* call, const Value* found, const extproc_value** value) {
  if (value == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
  if (found == nullptr) return EXTPROC_NOT_FOUND;
  *value = lent(found);
  return EXTPROC_OK;
}

extproc_status attribute_value(extproc_call* call, extproc_str name, const extproc_value** value) {
  return guarded(call,
                 [&] { return hand_out(call, call->exchange.attributes.value(from_abi(name)), value); });
}

extproc_status metadata_value(extproc_call* call, extproc_str name_space, extproc_str key,
                              const extproc_value** value) {
  return guarded(call, [&] {
    const Value* const space = call->exchange.metadata.value(from_abi(name_space));
    const bool whole = from_abi(key).empty();
    return hand_out(call, whole || space == nullptr ? space : space->find(from_abi(key)), value);
  });
}

extproc_status typed_metadata(extproc_call* call, extproc_str name_space, extproc_str* type_url,
                              extproc_str* message) {
  return guarded(call, [&]() -> extproc_status {
    if (type_url == nullptr || message == nullptr) return refuse(call, EXTPROC_INVALID, "a null pointer");
    const auto found = call->exchange.metadata.typed(from_abi(name_space));
    if (!found) return EXTPROC_NOT_FOUND;
    *type_url = to_abi(found->type_url);
    *message = to_abi(found->message);
    return EXTPROC_OK;
  });
}

uint32_t type(const extproc_value* value) {
  // The order of the alternatives in Value::data is the order of the EXTPROC_VALUE_* numbers.
  using Data = decltype(Value::data);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_NULL, Data>, std::monostate>);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_BOOL, Data>, bool>);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_NUMBER, Data>, double>);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_STRING, Data>, std::string>);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_LIST, Data>, Value::List>);
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_VALUE_STRUCT, Data>, Value::Struct>);
  return static_cast<uint32_t>(value_of(value).data.index());
}

extproc_status get_bool(const extproc_value* value, uint32_t* out) {
  const bool* const found = std::get_if<bool>(&value_of(value).data);
  if (found == nullptr || out == nullptr) return EXTPROC_INVALID;
  *out = *found ? 1 : 0;
  return EXTPROC_OK;
}

extproc_status get_number(const extproc_value* value, double* out) {
  const double* const found = std::get_if<double>(&value_of(value).data);
  if (found == nullptr || out == nullptr) return EXTPROC_INVALID;
  *out = *found;
  return EXTPROC_OK;
}

extproc_status get_string(const extproc_value* value, extproc_str* out) {
  const std::string* const found = std::get_if<std::string>(&value_of(value).data);
  if (found == nullptr || out == nullptr) return EXTPROC_INVALID;
  *out = to_abi(*found);
  return EXTPROC_OK;
}

size_t size(const extproc_value* value) { return value_of(value).size(); }

const extproc_value* at(const extproc_value* value, size_t index, extproc_str* key) {
  const Value& of = value_of(value);
  if (index >= of.size()) return nullptr;
  if (const auto* list = std::get_if<Value::List>(&of.data)) {
    if (key != nullptr) *key = {nullptr, 0};
    return lent(&(*list)[index]);
  }
  const Value::Member& member = std::get<Value::Struct>(of.data)[index];
  if (key != nullptr) *key = to_abi(member.key);
  return lent(&member.value);
}

const extproc_value* find(const extproc_value* value, extproc_str key) {
  return lent(value_of(value).find(from_abi(key)));
}

extproc_status set_json(extproc_call* call, extproc_str name_space, extproc_str key, extproc_str json) {
  return change(call, [&](wire::DynamicMetadata& metadata) {
    return metadata.set_json(from_abi(name_space), from_abi(key), from_abi(json));
  });
}

extproc_status set_typed(extproc_call* call, extproc_str name_space, extproc_str type_url,
                         extproc_str message) {
  return change(call, [&](wire::DynamicMetadata& metadata) {
    return metadata.set_typed(from_abi(name_space), from_abi(type_url), from_abi(message));
  });
}

extproc_status remove(extproc_call* call, extproc_str name_space, extproc_str key) {
  bool found = false;
  const extproc_status status = change(call, [&](wire::DynamicMetadata& metadata) {
    found = metadata.remove(from_abi(name_space), from_abi(key));
    return absl::OkStatus();
  });
  return status == EXTPROC_OK && !found ? EXTPROC_NOT_FOUND : status;
}

}  // namespace

const extproc_metadata_api& metadata_extension() {
  static constexpr extproc_metadata_api kTable = {
      sizeof(extproc_metadata_api), 0, &attribute, &metadata, &set_string, &set_number, &set_bool};
  return kTable;
}

const extproc_metadata_api_2& metadata_extension_2() {
  static constexpr extproc_metadata_api_2 kTable = {sizeof(extproc_metadata_api_2),
                                                    0,
                                                    &attribute_value,
                                                    &metadata_value,
                                                    &typed_metadata,
                                                    &type,
                                                    &get_bool,
                                                    &get_number,
                                                    &get_string,
                                                    &size,
                                                    &at,
                                                    &find,
                                                    &set_json,
                                                    &set_typed,
                                                    &remove};
  return kTable;
}

}  // namespace extprocd::engine
