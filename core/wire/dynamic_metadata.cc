#include "core/wire/dynamic_metadata.h"

#include <algorithm>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/http/utf8.h"
#include "core/wire/encoder.h"
#include "core/wire/json.h"

namespace extprocd::wire {
namespace {

constexpr uint32_t kTypedDynamicMetadata = 13;  // of ProcessingResponse
constexpr uint32_t kStructValue = 5;            // of google.protobuf.Value

struct Entry {
  std::string key;
  std::string value;  // encoded: a google.protobuf.Value, or an Any
};

struct Namespace {
  std::string name;
  std::vector<Entry> entries;
};

template <typename Put>
std::string encoded(Put&& put) {
  Encoder out;
  put(out);
  return std::string(out.view());
}

/// One entry of a map whose values are messages. Written backwards, as the encoder does.
template <typename Put>
void put_entry(Encoder& out, uint32_t field, std::string_view key, Put&& put_message) {
  out.put_message(field, [&] {
    put_message();
    out.put_bytes(1, key);
  });
}

absl::Status check_name(const std::string& what, std::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("the " + what + " is empty");
  if (!http::is_utf8(name)) return absl::InvalidArgumentError("the " + what + " is not UTF-8");
  return absl::OkStatus();
}

absl::Status too_large() {
  return absl::ResourceExhaustedError("more than 64 KiB of dynamic metadata in one phase");
}

}  // namespace

// A handful of each: searched in order.
struct DynamicMetadata::State {
  std::vector<Namespace> namespaces;
  std::vector<Entry> typed;
  std::size_t size = 0;  // of all names and values
};

DynamicMetadata::State& DynamicMetadata::own() {
  if (state_ == nullptr) {
    state_ = std::make_shared<State>();
  } else if (state_.use_count() > 1) {
    state_ = std::make_shared<State>(*state_);
  }
  return *state_;
}

absl::Status DynamicMetadata::put(std::string_view name_space, std::string_view key, std::string value) {
  if (absl::Status name = check_name("namespace", name_space); !name.ok()) return name;
  if (absl::Status name = check_name("key", key); !name.ok()) return name;

  // Judged before anything is copied or changed.
  std::size_t size = name_space.size() + key.size() + value.size();
  if (state_ != nullptr) {
    size += state_->size;
    const auto space = std::ranges::find(state_->namespaces, name_space, &Namespace::name);
    if (space != state_->namespaces.end()) {
      size -= name_space.size();
      const auto old = std::ranges::find(space->entries, key, &Entry::key);
      if (old != space->entries.end()) size -= key.size() + old->value.size();
    }
  }
  if (size > kMaxSize) return too_large();

  State& state = own();
  auto space = std::ranges::find(state.namespaces, name_space, &Namespace::name);
  if (space == state.namespaces.end()) space = state.namespaces.insert(space, {std::string(name_space), {}});
  auto entry = std::ranges::find(space->entries, key, &Entry::key);
  if (entry == space->entries.end()) entry = space->entries.insert(entry, {std::string(key), {}});
  entry->value = std::move(value);
  state.size = size;
  return absl::OkStatus();
}

absl::Status DynamicMetadata::set(std::string_view name_space, std::string_view key,
                                  std::variant<std::string_view, double, bool> value) {
  const std::string_view* const text = std::get_if<std::string_view>(&value);
  if (text != nullptr && text->size() > kMaxSize) return too_large();
  if (text != nullptr && !http::is_utf8(*text)) return absl::InvalidArgumentError("the text is not UTF-8");
  const auto to_tree = []<typename T>(T given) -> Value {
    if constexpr (std::is_same_v<T, std::string_view>) {
      return {std::string(given)};
    } else {
      return {given};
    }
  };
  return put(name_space, key, encoded([&](Encoder& out) { put_value(out, std::visit(to_tree, value)); }));
}

absl::Status DynamicMetadata::set_json(std::string_view name_space, std::string_view key,
                                       std::string_view json) {
  if (json.size() > kMaxSize) return too_large();
  const absl::StatusOr<Value> value = parse_json(json);
  if (!value.ok()) return value.status();
  return put(name_space, key, encoded([&](Encoder& out) { put_value(out, *value); }));
}

absl::Status DynamicMetadata::set_typed(std::string_view name_space, std::string_view type_url,
                                        std::string_view message) {
  if (absl::Status name = check_name("namespace", name_space); !name.ok()) return name;
  if (absl::Status name = check_name("type URL", type_url); !name.ok()) return name;
  if (type_url.find('/') >= type_url.size() - 1) {
    return absl::InvalidArgumentError("the type URL has no '/' with the type's name behind it");
  }
  if (message.size() > kMaxSize || type_url.size() > kMaxSize) return too_large();
  std::string any = encoded([&](Encoder& out) {
    if (!message.empty()) out.put_bytes(2, message);
    out.put_bytes(1, type_url);
  });
  std::size_t size = name_space.size() + any.size();
  if (state_ != nullptr) {
    size += state_->size;
    const auto old = std::ranges::find(state_->typed, name_space, &Entry::key);
    if (old != state_->typed.end()) size -= old->key.size() + old->value.size();
  }
  if (size > kMaxSize) return too_large();

  State& state = own();
  auto entry = std::ranges::find(state.typed, name_space, &Entry::key);
  if (entry == state.typed.end()) entry = state.typed.insert(entry, {std::string(name_space), {}});
  entry->value = std::move(any);
  state.size = size;
  return absl::OkStatus();
}

DynamicMetadata DynamicMetadata::detached() const {
  DynamicMetadata other;
  if (state_ != nullptr) other.state_ = std::make_shared<State>(*state_);
  return other;
}

bool DynamicMetadata::remove(std::string_view name_space, std::string_view key) {
  if (state_ == nullptr) return false;
  State left = *state_;
  const auto all = [](const Entry&) { return true; };
  const auto drop = [&left](std::vector<Entry>& entries, auto&& which) {
    return std::erase_if(entries, [&](const Entry& entry) {
      if (!which(entry)) return false;
      left.size -= entry.key.size() + entry.value.size();
      return true;
    });
  };
  std::size_t dropped = 0;
  const auto space = std::ranges::find(left.namespaces, name_space, &Namespace::name);
  if (space != left.namespaces.end()) {
    dropped += key.empty() ? drop(space->entries, all)
                           : drop(space->entries, [key](const Entry& entry) { return entry.key == key; });
    if (space->entries.empty()) {
      left.size -= space->name.size();
      left.namespaces.erase(space);
    }
  }
  if (key.empty()) {
    dropped += drop(left.typed, [name_space](const Entry& entry) { return entry.key == name_space; });
  }
  if (dropped == 0) return false;
  if (left.namespaces.empty() && left.typed.empty()) {
    clear();
  } else {
    state_ = std::make_shared<State>(std::move(left));
  }
  return true;
}

std::string DynamicMetadata::encode() const {
  if (state_ == nullptr) return {};
  return encoded([&](Encoder& out) {
    for (const Namespace& name_space : std::views::reverse(state_->namespaces)) {
      put_entry(out, 1, name_space.name, [&] {
        out.put_message(2, [&] {
          out.put_message(kStructValue, [&] {
            for (const Entry& entry : std::views::reverse(name_space.entries)) {
              put_entry(out, 1, entry.key, [&] { out.put_bytes(2, entry.value); });
            }
          });
        });
      });
    }
  });
}

std::string DynamicMetadata::encode_typed() const {
  if (state_ == nullptr) return {};
  return encoded([&](Encoder& out) {
    for (const Entry& entry : std::views::reverse(state_->typed)) {
      put_entry(out, kTypedDynamicMetadata, entry.key, [&] { out.put_bytes(2, entry.value); });
    }
  });
}

}  // namespace extprocd::wire
