#include "core/wire/value.h"

#include <algorithm>
#include <ranges>

#include <google/protobuf/struct.pb.h>

namespace extprocd::wire {
namespace {

// The oneof of google.protobuf.Value.
constexpr uint32_t kNullValue = 1;
constexpr uint32_t kNumberValue = 2;
constexpr uint32_t kStringValue = 3;
constexpr uint32_t kBoolValue = 4;
constexpr uint32_t kStructValue = 5;
constexpr uint32_t kListValue = 6;

struct PutValue {
  Encoder& out;
  void operator()(std::monostate) const { out.put_varint(kNullValue, 0); }
  void operator()(bool value) const { out.put_varint(kBoolValue, value ? 1 : 0); }
  void operator()(double value) const { out.put_double(kNumberValue, value); }
  void operator()(const std::string& value) const { out.put_bytes(kStringValue, value); }
  // Written backwards, as the encoder does.
  void operator()(const Value::List& list) const {
    out.put_message(kListValue, [&] {
      for (const Value& value : std::views::reverse(list)) out.put_message(1, [&] { put_value(out, value); });
    });
  }
  void operator()(const Value::Struct& object) const {
    out.put_message(kStructValue, [&] {
      for (const Value::Member& member : std::views::reverse(object)) {
        out.put_message(1, [&] {
          out.put_message(2, [&] { put_value(out, member.value); });
          out.put_bytes(1, member.key);
        });
      }
    });
  }
};

}  // namespace

std::size_t Value::size() const {
  if (const List* list = std::get_if<List>(&data)) return list->size();
  const Struct* object = std::get_if<Struct>(&data);
  return object == nullptr ? 0 : object->size();
}

const Value* Value::find(std::string_view key) const {
  const Struct* object = std::get_if<Struct>(&data);
  if (object == nullptr) return nullptr;
  const auto found = std::ranges::lower_bound(*object, key, {}, &Member::key);
  return found == object->end() || found->key != key ? nullptr : &found->value;
}

Value to_value(const google::protobuf::Value& value) {
  using Source = google::protobuf::Value;
  switch (value.kind_case()) {
    case Source::kBoolValue:
      return {value.bool_value()};
    case Source::kNumberValue:
      return {value.number_value()};
    case Source::kStringValue:
      return {value.string_value()};
    case Source::kListValue: {
      Value::List list;
      list.reserve(static_cast<std::size_t>(value.list_value().values_size()));
      for (const Source& entry : value.list_value().values()) list.push_back(to_value(entry));
      return {std::move(list)};
    }
    case Source::kStructValue:
      return to_value(value.struct_value());
    case Source::kNullValue:
    case Source::KIND_NOT_SET:
      break;
  }
  return {};
}

Value to_value(const google::protobuf::Struct& object) {
  Value::Struct members;
  members.reserve(object.fields().size());
  for (const auto& [key, value] : object.fields()) members.push_back({key, to_value(value)});
  std::ranges::sort(members, {}, &Value::Member::key);
  return {std::move(members)};
}

void put_value(Encoder& out, const Value& value) { std::visit(PutValue{out}, value.data); }

}  // namespace extprocd::wire
