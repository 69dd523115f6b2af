#include "core/wire/attributes.h"

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "core/wire/encoder.h"
#include "core/wire/value_text.h"

namespace extprocd::wire {
namespace {

using envoy::config::core::v3::Metadata;
using envoy::service::ext_proc::v3::ProcessingRequest;
using google::protobuf::Struct;

constexpr uint32_t kAttributesField = 9;
constexpr const char* kEnvoyKey = "envoy.filters.http.ext_proc";

bool parse(google::protobuf::MessageLite& message, std::string_view bytes) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

/// The value at a path of keys joined by dots. A key may have dots itself: the longest one that fits first.
const google::protobuf::Value* find(const Struct& object, std::string_view path) {
  const auto& fields = object.fields();
  const auto whole = fields.find(std::string(path));
  if (whole != fields.end()) return &whole->second;
  for (std::size_t dot = path.rfind('.'); dot != std::string_view::npos && dot > 0;
       dot = path.rfind('.', dot - 1)) {
    const auto outer = fields.find(std::string(path.substr(0, dot)));
    if (outer == fields.end() || !outer->second.has_struct_value()) continue;
    const auto* const inner = find(outer->second.struct_value(), path.substr(dot + 1));
    if (inner != nullptr) return inner;
  }
  return nullptr;
}

}  // namespace

struct AttributeReader::State {
  std::vector<std::string> undecoded;
  std::size_t undecoded_size = 0;
  Struct attributes;
  std::optional<Value> tree;  // of the attributes, once somebody asked

  const Value& values() {
    decode();
    if (!tree) tree = to_value(attributes);
    return *tree;
  }

  void decode() {
    if (undecoded.empty()) return;
    tree.reset();
    for (const std::string& entry : undecoded) merge(entry);
    undecoded.clear();
    undecoded_size = 0;
  }

  void merge(std::string_view entry) {
    Encoder message;  // the entry back in its place, so that the generated class can read it
    message.put_bytes(kAttributesField, entry);
    ProcessingRequest request;
    if (!parse(request, message.view())) return;
    const auto found = request.mutable_attributes()->find(kEnvoyKey);
    if (found == request.mutable_attributes()->end()) return;
    for (auto& [name, value] : *found->second.mutable_fields()) {
      (*attributes.mutable_fields())[name].Swap(&value);
    }
  }
};

AttributeReader::AttributeReader() = default;
AttributeReader::~AttributeReader() = default;
AttributeReader::AttributeReader(AttributeReader&&) noexcept = default;
AttributeReader& AttributeReader::operator=(AttributeReader&&) noexcept = default;

AttributeReader AttributeReader::copy() const {
  AttributeReader other;
  if (state_ != nullptr) other.state_ = std::make_unique<State>(*state_);
  return other;
}

bool AttributeReader::add(std::string_view entry) {
  if (entry.size() > kMaxSize) return false;
  if (state_ == nullptr) state_ = std::make_unique<State>();
  state_->undecoded.emplace_back(entry);
  state_->undecoded_size += entry.size() + sizeof(std::string);
  if (state_->undecoded_size <= kMaxSize) return true;
  state_->decode();  // what is said again and again counts once
  return state_->attributes.ByteSizeLong() <= kMaxSize;
}

std::optional<std::string> AttributeReader::get(std::string_view name) const {
  if (state_ == nullptr) return std::nullopt;
  state_->decode();
  const auto found = state_->attributes.fields().find(std::string(name));
  if (found == state_->attributes.fields().end()) return std::nullopt;
  return to_text(found->second);
}

const Value* AttributeReader::value(std::string_view name) const {
  return state_ == nullptr ? nullptr : state_->values().find(name);
}

struct MetadataReader::State {
  std::string bytes;
  bool decoded = false;
  Metadata metadata;
  std::map<std::string, Value, std::less<>> trees;  // of the namespaces that were asked for

  void decode() {
    if (!decoded && !parse(metadata, bytes)) metadata.Clear();
    decoded = true;
  }

  const Struct* name_space(std::string_view name) {
    decode();
    const auto found = metadata.filter_metadata().find(std::string(name));
    return found == metadata.filter_metadata().end() ? nullptr : &found->second;
  }
};

MetadataReader::MetadataReader() = default;
MetadataReader::~MetadataReader() = default;
MetadataReader::MetadataReader(MetadataReader&&) noexcept = default;
MetadataReader& MetadataReader::operator=(MetadataReader&&) noexcept = default;

MetadataReader MetadataReader::copy() const {
  MetadataReader other;
  if (state_ != nullptr) other.state_ = std::make_unique<State>(*state_);
  return other;
}

void MetadataReader::update(std::span<const std::string_view> occurrences) {
  if (occurrences.empty()) return;
  // Envoy sets the field on every message, mostly with nothing in it.
  const bool says_nothing =
      std::all_of(occurrences.begin(), occurrences.end(), [](std::string_view part) { return part.empty(); });
  if (says_nothing && state_ == nullptr) return;
  if (state_ == nullptr) state_ = std::make_unique<State>();
  state_->bytes.clear();
  for (const std::string_view part : occurrences)
    state_->bytes += part;  // bytes put together are messages merged
  state_->decoded = false;
  state_->trees.clear();
}

std::optional<std::string> MetadataReader::get(std::string_view name_space, std::string_view path) const {
  const Struct* const object = state_ == nullptr ? nullptr : state_->name_space(name_space);
  const auto* const value = object == nullptr ? nullptr : find(*object, path);
  if (value == nullptr) return std::nullopt;
  return to_text(*value);
}

std::optional<std::string> MetadataReader::json(std::string_view name_space) const {
  const Struct* const object = state_ == nullptr ? nullptr : state_->name_space(name_space);
  if (object == nullptr) return std::nullopt;
  return to_json(*object);
}

const Value* MetadataReader::value(std::string_view name_space) const {
  if (state_ == nullptr) return nullptr;
  const auto known = state_->trees.find(name_space);
  if (known != state_->trees.end()) return &known->second;
  const Struct* const object = state_->name_space(name_space);
  return object == nullptr ? nullptr : &state_->trees.emplace(name_space, to_value(*object)).first->second;
}

std::optional<TypedMetadata> MetadataReader::typed(std::string_view name_space) const {
  if (state_ == nullptr) return std::nullopt;
  state_->decode();
  const auto& all = state_->metadata.typed_filter_metadata();
  const auto found = all.find(std::string(name_space));
  if (found == all.end()) return std::nullopt;
  return TypedMetadata{found->second.type_url(), found->second.value()};
}

}  // namespace extprocd::wire
