#include "core/wire/dynamic_metadata.h"

#include <algorithm>
#include <ranges>

#include "core/http/utf8.h"
#include "core/wire/encoder.h"

namespace extprocd::wire {
namespace {

// google.protobuf.Struct: map<string, Value> fields = 1. Value: a oneof of these.
constexpr uint32_t kNumberValue = 2;
constexpr uint32_t kStringValue = 3;
constexpr uint32_t kBoolValue = 4;
constexpr uint32_t kStructValue = 5;

struct PutValue {
  Encoder& out;
  void operator()(const std::string& value) const { out.put_bytes(kStringValue, value); }
  void operator()(double value) const { out.put_double(kNumberValue, value); }
  void operator()(bool value) const { out.put_varint(kBoolValue, value ? 1 : 0); }
};

/// One entry of Struct.fields, whose Value `put_value` puts. Written backwards, as the encoder does.
template <typename Put>
void put_entry(Encoder& out, std::string_view key, Put&& put_value) {
  out.put_message(1, [&] {
    out.put_message(2, put_value);
    out.put_bytes(1, key);
  });
}

}  // namespace

bool DynamicMetadata::set(std::string_view name_space, std::string_view key,
                          std::variant<std::string_view, double, bool> value) {
  if (name_space.empty() || key.empty() || !http::is_utf8(name_space) || !http::is_utf8(key)) return false;
  const std::string_view* const text = std::get_if<std::string_view>(&value);
  if (text != nullptr && !http::is_utf8(*text)) return false;

  auto found = std::ranges::find(namespaces_, name_space, &Namespace::name);
  if (found == namespaces_.end()) {
    found = namespaces_.insert(found, {std::string(name_space), {}});
  }
  auto entry = std::ranges::find(found->entries, key, &Entry::key);
  if (entry == found->entries.end()) entry = found->entries.insert(entry, {std::string(key), {}});
  entry->value = std::visit(
      []<typename T>(T given) -> Value {
        if constexpr (std::is_same_v<T, std::string_view>) {
          return std::string(given);
        } else {
          return given;
        }
      },
      value);
  return true;
}

std::string DynamicMetadata::encode() const {
  Encoder out;
  for (const Namespace& name_space : std::views::reverse(namespaces_)) {
    put_entry(out, name_space.name, [&] {
      out.put_message(kStructValue, [&] {
        for (const Entry& entry : std::views::reverse(name_space.entries)) {
          put_entry(out, entry.key, [&] { std::visit(PutValue{out}, entry.value); });
        }
      });
    });
  }
  return std::string(out.view());
}

}  // namespace extprocd::wire
