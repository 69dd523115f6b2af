#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sdk/tests/fake_async.h"
#include <extproc/abi.h>

/// A value of the fake, in the order of EXTPROC_VALUE_*.
struct extproc_value {
  using List = std::vector<extproc_value>;
  using Struct = std::map<std::string, extproc_value>;

  std::variant<std::monostate, bool, double, std::string, List, Struct> data;
};

/// One callback in flight of the fake: everything that a stream would hold.
struct extproc_call {
  using Map = std::vector<std::pair<std::string, std::string>>;

  uint32_t phase = EXTPROC_REQUEST_HEADERS;
  std::map<uint32_t, Map> maps;
  std::vector<std::string> body;
  uint32_t body_access = EXTPROC_ACCESS_STREAM;   ///< of the plugin, for the body of this phase
  bool grpc = false;                              ///< in GRPC mode: the slices are messages
  bool headers_held = false;                      ///< may a body phase change the headers of its direction?
  std::map<std::string, extproc_status> refused;  ///< by header name: what an edit of it answers
  extproc_status write_status = EXTPROC_OK;
  bool takes_pieces = true;  ///< does the data plane take a reply in pieces?
  extproc_status replace_body_status = EXTPROC_OK;
  extproc_status reply_status = EXTPROC_OK;
  extproc_status remove_metadata_status = EXTPROC_OK;
  extproc_status suspend_status = EXTPROC_OK;

  // What the plugin did.
  std::string replacement;
  bool route_cache_cleared = false;
  uint32_t failure_code = 0;
  std::string failure;
  uint32_t replied = 0;
  std::string reply_text;  ///< body, details, grpc status and headers in one line
  std::map<std::string, std::string> dynamic_metadata;
  std::map<std::string, std::string> store;
  std::map<std::string, std::string> attributes;
  std::map<std::string, extproc_value> values;  ///< attributes by name, metadata by "namespace/key"
  std::map<std::string, std::pair<std::string, std::string>> typed_metadata;  ///< type URL and message
  std::vector<std::string>
      sent;              ///< what of the body goes on, in the pieces in which it was let go or written
  size_t taken = 0;      ///< bytes of `body` that were forwarded or dropped
  uint32_t skipped = 0;  ///< EXTPROC_PHASE_BIT
  uint64_t extended_ms = 0;
  bool reply_begun = false;
  bool reply_ended = false;
  std::vector<std::string> reply_pieces;
  Map reply_trailers;

  /// All that goes on of the body.
  std::string sent_text() const {
    std::string all;
    for (const std::string& piece : sent) all += piece;
    return all;
  }

  // What was lent out.
  std::string last_error;
  std::vector<extproc_header> lent_headers;
  std::vector<extproc_str> lent_slices;
  extproc_stream_facts facts{};
  extproc_resume_handle handle = 0;          ///< of this callback's suspension
  extproc_test::FakeAsync* async = nullptr;  ///< of the host; set by Driver
};

struct extproc_metric {
  double value = 0;
  int observations = 0;
};

/// A configured value of the fake.
struct extproc_config_node {
  using Array = std::vector<extproc_config_node>;
  using Table = std::vector<std::pair<std::string, extproc_config_node>>;

  std::variant<bool, int64_t, double, std::string, Array, Table> data = Table{};
  int line = 0;

  extproc_config_node() = default;
  extproc_config_node(bool value) : data(value) {}
  extproc_config_node(int value) : data(int64_t{value}) {}
  extproc_config_node(double value) : data(value) {}
  extproc_config_node(const char* value) : data(std::string(value)) {}
  extproc_config_node(Array value) : data(std::move(value)) {}
  extproc_config_node(Table value) : data(std::move(value)) {}
};

namespace extproc_test {

using Node = extproc_config_node;
using Array = extproc_config_node::Array;
using Table = extproc_config_node::Table;
using Map = extproc_call::Map;

inline extproc_str str(std::string_view text) { return {text.data(), text.size()}; }
inline std::string text(extproc_str view) {
  return view.size == 0 ? std::string() : std::string(view.data, view.size);
}

/// A host without a server, for tests of plugins and of the SDK: enough of every table to see what a plugin
/// does.
class FakeHost : public extproc_host {
 public:
  explicit FakeHost(Table config = {}) : extproc_host{}, config_(std::move(config)) {
    struct_size = sizeof(extproc_host);
    abi_major = EXTPROC_ABI_MAJOR;
    abi_minor = EXTPROC_ABI_MINOR;
    version = str("1.2.3");
    plugin_name = str("under-test");
    set_functions();
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  std::vector<std::string> errors;     ///< of create, and of the configuration with "at <what the key holds>"
  std::vector<std::string> log_lines;  ///< "<level>:<text>"
  uint32_t lowest_level = EXTPROC_LOG_INFO;
  std::map<std::string, extproc_metric> metrics;
  FakeAsync async;
  FakeWork work;
  bool has_extensions = true;
  bool refuse_metrics = false;

 private:
  static FakeHost& of(const extproc_host* host) {
    return const_cast<FakeHost&>(static_cast<const FakeHost&>(*host));
  }

  void set_functions();

  static extproc_status refuse(extproc_call* call, extproc_status status, std::string reason) {
    call->last_error = std::move(reason);
    return status;
  }
  static std::string lower(extproc_str name) {
    std::string out = text(name);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
  }
  static extproc_status check_edit(extproc_call* call, uint32_t map, const std::string& name) {
    const bool held = call->headers_held &&
                      (call->phase == EXTPROC_REQUEST_BODY || call->phase == EXTPROC_RESPONSE_BODY) &&
                      map == call->phase - 1;
    if (map != call->phase && !held) return refuse(call, EXTPROC_TOO_LATE, "that phase is over");
    const auto found = call->refused.find(name);
    if (found != call->refused.end()) return refuse(call, found->second, "refused by the test");
    return name.empty() ? refuse(call, EXTPROC_INVALID, "not a valid header name") : EXTPROC_OK;
  }
  static void erase(Map& map, const std::string& name) {
    map.erase(std::remove_if(map.begin(), map.end(), [&](const auto& entry) { return entry.first == name; }),
              map.end());
  }

  static extproc_metric* metric(const extproc_host* host, extproc_str name, const extproc_header* labels,
                                size_t count) {
    FakeHost& self = of(host);
    if (self.refuse_metrics) {
      self.errors.push_back("bad metric " + text(name));
      return nullptr;
    }
    std::string key = text(name);
    for (size_t i = 0; i < count; ++i) key += " " + text(labels[i].name) + "=" + text(labels[i].value);
    return &self.metrics[key];
  }

  static const extproc_config_api& config_table();
  static const extproc_metrics_api& metrics_table();
  static const extproc_metadata_api& metadata_table();
  static const extproc_metadata_api_2& metadata_table_2();
  static const extproc_store_api& store_table();
  static const extproc_body_api& body_table();
  static const extproc_control_api& control_table();
  static const extproc_streamed_reply_api& streamed_reply_table();
  static const extproc_async_api& async_table();
  static const extproc_work_api& work_table();

  /// Moves past the next `size` bytes of the body.
  static extproc_status take(extproc_call* call, size_t size, bool forward);
  static void note_reply(extproc_call* call, const extproc_reply* given);

  Node config_;
};

inline void FakeHost::set_functions() {
  get_extension = [](const extproc_host* host, const char* raw) -> const void* {
    const std::string_view name(raw);
    if (!of(host).has_extensions) return nullptr;
    if (name == EXTPROC_CONFIG_1) return &config_table();
    if (name == EXTPROC_METRICS_1) return &metrics_table();
    if (name == EXTPROC_METADATA_1) return &metadata_table();
    if (name == EXTPROC_METADATA_2) return &metadata_table_2();
    if (name == EXTPROC_BODY_1) return &body_table();
    if (name == EXTPROC_CONTROL_1) return &control_table();
    if (name == EXTPROC_STREAMED_REPLY_1) return &streamed_reply_table();
    if (name == EXTPROC_ASYNC_1) return &async_table();
    if (name == EXTPROC_WORK_1) return &work_table();
    return name == EXTPROC_STORE_1 ? &store_table() : nullptr;
  };
  log_enabled = [](const extproc_host* host, uint32_t level) -> uint32_t {
    return level >= of(host).lowest_level;
  };
  log = [](const extproc_host* host, uint32_t level, extproc_str line) {
    of(host).log_lines.push_back(std::to_string(level) + ":" + text(line));
  };
  create_error = [](const extproc_host* host, extproc_str error) { of(host).errors.push_back(text(error)); };
  last_error = [](extproc_call* call) { return str(call->last_error); };
  facts = [](extproc_call* call) -> const extproc_stream_facts* { return &call->facts; };
  headers = [](extproc_call* call, uint32_t map, const extproc_header** entries,
               size_t* count) -> extproc_status {
    const auto found = call->maps.find(map);
    if (found == call->maps.end()) return refuse(call, EXTPROC_NOT_FOUND, "not here");
    call->lent_headers.clear();
    for (const auto& [name, value] : found->second) call->lent_headers.push_back({str(name), str(value)});
    *entries = call->lent_headers.data();
    *count = call->lent_headers.size();
    return EXTPROC_OK;
  };
  header_get = [](extproc_call* call, uint32_t map, extproc_str name, extproc_str* value) -> extproc_status {
    const auto found = call->maps.find(map);
    if (found == call->maps.end()) return EXTPROC_NOT_FOUND;
    for (const auto& entry : found->second) {
      if (entry.first != lower(name)) continue;
      *value = str(entry.second);
      return EXTPROC_OK;
    }
    return EXTPROC_NOT_FOUND;
  };
  header_set = [](extproc_call* call, uint32_t map, extproc_str name, extproc_str value) -> extproc_status {
    const std::string key = lower(name);
    const std::string copy = text(value);
    const extproc_status status = check_edit(call, map, key);
    if (status != EXTPROC_OK) return status;
    erase(call->maps[map], key);
    call->maps[map].emplace_back(key, copy);
    return EXTPROC_OK;
  };
  header_add = [](extproc_call* call, uint32_t map, extproc_str name, extproc_str value) -> extproc_status {
    const extproc_status status = check_edit(call, map, lower(name));
    if (status != EXTPROC_OK) return status;
    call->maps[map].emplace_back(lower(name), text(value));
    return EXTPROC_OK;
  };
  header_remove = [](extproc_call* call, uint32_t map, extproc_str name) -> extproc_status {
    const extproc_status status = check_edit(call, map, lower(name));
    if (status == EXTPROC_OK) erase(call->maps[map], lower(name));
    return status;
  };
  body = [](extproc_call* call, const extproc_str** slices, size_t* count) -> extproc_status {
    call->lent_slices.clear();
    for (const std::string& slice : call->body) call->lent_slices.push_back(str(slice));
    *slices = call->lent_slices.data();
    *count = call->lent_slices.size();
    return EXTPROC_OK;
  };
  replace_body = [](extproc_call* call, extproc_str replacement) -> extproc_status {
    if (call->replace_body_status != EXTPROC_OK)
      return refuse(call, call->replace_body_status, "no body here");
    call->replacement = text(replacement);
    return EXTPROC_OK;
  };
  reply = [](extproc_call* call, const extproc_reply* given) -> extproc_status {
    if (call->reply_status != EXTPROC_OK) return refuse(call, call->reply_status, "no reply now");
    note_reply(call, given);
    return EXTPROC_OK;
  };
  fail = [](extproc_call* call, uint32_t code, extproc_str why) {
    call->failure_code = code;
    call->failure = text(why);
  };
  clear_route_cache = [](extproc_call* call) -> extproc_status {
    if (call->phase != EXTPROC_REQUEST_HEADERS) return refuse(call, EXTPROC_UNSUPPORTED, "not in this phase");
    call->route_cache_cleared = true;
    return EXTPROC_OK;
  };
}

inline const extproc_config_api& FakeHost::config_table() {
  static constexpr extproc_config_api kTable = {
      sizeof(extproc_config_api),
      0,
      [](const extproc_host* host) -> const Node* { return &of(host).config_; },
      [](const Node* node, extproc_str key) -> const Node* {
        const auto* table = std::get_if<Table>(&node->data);
        if (table == nullptr) return nullptr;
        for (const auto& [name, child] : *table) {
          if (name == text(key)) return &child;
        }
        return nullptr;
      },
      [](const Node* node) -> uint32_t { return static_cast<uint32_t>(node->data.index()); },
      [](const Node* node) -> size_t {
        if (const auto* array = std::get_if<Array>(&node->data)) return array->size();
        const auto* table = std::get_if<Table>(&node->data);
        return table == nullptr ? 0 : table->size();
      },
      [](const Node* node, size_t index, extproc_str* key) -> const Node* {
        if (const auto* array = std::get_if<Array>(&node->data)) return &array->at(index);
        const auto& entry = std::get<Table>(node->data).at(index);
        if (key != nullptr) *key = str(entry.first);
        return &entry.second;
      },
      [](const Node* node, uint32_t* value) -> extproc_status {
        const auto* found = std::get_if<bool>(&node->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *value = *found ? 1 : 0;
        return EXTPROC_OK;
      },
      [](const Node* node, int64_t* value) -> extproc_status {
        const auto* found = std::get_if<int64_t>(&node->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *value = *found;
        return EXTPROC_OK;
      },
      [](const Node* node, double* value) -> extproc_status {
        if (const auto* whole = std::get_if<int64_t>(&node->data)) {
          *value = static_cast<double>(*whole);
          return EXTPROC_OK;
        }
        const auto* found = std::get_if<double>(&node->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *value = *found;
        return EXTPROC_OK;
      },
      [](const Node* node, extproc_str* value) -> extproc_status {
        const auto* found = std::get_if<std::string>(&node->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *value = str(*found);
        return EXTPROC_OK;
      },
      [](const extproc_host* host, const Node* node, extproc_str error) {
        constexpr const char* kKinds[] = {"bool", "integer", "float", "string", "array", "table"};
        of(host).errors.push_back(text(error) + " at " + kKinds[node->data.index()]);
      },
      [](const extproc_host*) { return str("{\"raw\":1}"); },
  };
  return kTable;
}

inline const extproc_metrics_api& FakeHost::metrics_table() {
  static constexpr extproc_metrics_api kTable = {
      sizeof(extproc_metrics_api),
      0,
      [](const extproc_host* host, extproc_str name, extproc_str, const extproc_header* labels,
         size_t count) { return metric(host, name, labels, count); },
      [](const extproc_host* host, extproc_str name, extproc_str, const extproc_header* labels,
         size_t count) { return metric(host, name, labels, count); },
      [](const extproc_host* host, extproc_str name, extproc_str, const extproc_header* labels, size_t count,
         const double*, size_t) { return metric(host, name, labels, count); },
      [](extproc_metric* metric, double amount) { metric->value += amount; },
      [](extproc_metric* metric, double value) { metric->value = value; },
      [](extproc_metric* metric, double value) {
        metric->value += value;
        ++metric->observations;
      },
  };
  return kTable;
}

inline const extproc_metadata_api& FakeHost::metadata_table() {
  static constexpr auto kFind = [](const std::map<std::string, std::string>& all, const std::string& key,
                                   extproc_str* value) -> extproc_status {
    const auto found = all.find(key);
    if (found == all.end()) return EXTPROC_NOT_FOUND;
    *value = str(found->second);
    return EXTPROC_OK;
  };
  static constexpr extproc_metadata_api kTable = {
      sizeof(extproc_metadata_api),
      0,
      [](extproc_call* call, extproc_str name, extproc_str* value) {
        return kFind(call->attributes, text(name), value);
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, extproc_str* value) {
        return kFind(call->attributes, text(name_space) + "/" + text(key), value);
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, extproc_str value) -> extproc_status {
        if (name_space.size == 0) return refuse(call, EXTPROC_INVALID, "no namespace");
        call->dynamic_metadata[text(name_space) + "/" + text(key)] = "string " + text(value);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, double value) -> extproc_status {
        call->dynamic_metadata[text(name_space) + "/" + text(key)] = "number " + std::to_string(value);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, uint32_t value) -> extproc_status {
        call->dynamic_metadata[text(name_space) + "/" + text(key)] = value != 0 ? "true" : "false";
        return EXTPROC_OK;
      },
  };
  return kTable;
}

inline const extproc_metadata_api_2& FakeHost::metadata_table_2() {
  using Value = extproc_value;
  static constexpr auto kFind = [](extproc_call* call, const std::string& key,
                                   const Value** value) -> extproc_status {
    const auto found = call->values.find(key);
    if (found == call->values.end()) return EXTPROC_NOT_FOUND;
    *value = &found->second;
    return EXTPROC_OK;
  };
  static constexpr auto kKey = [](extproc_str name_space, extproc_str key) {
    return text(name_space) + "/" + text(key);
  };
  static constexpr extproc_metadata_api_2 kTable = {
      sizeof(extproc_metadata_api_2),
      0,
      [](extproc_call* call, extproc_str name, const Value** value) {
        return kFind(call, text(name), value);
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, const Value** value) {
        return kFind(call, kKey(name_space, key), value);
      },
      [](extproc_call* call, extproc_str name_space, extproc_str* type_url,
         extproc_str* message) -> extproc_status {
        const auto found = call->typed_metadata.find(text(name_space));
        if (found == call->typed_metadata.end()) return EXTPROC_NOT_FOUND;
        *type_url = str(found->second.first);
        *message = str(found->second.second);
        return EXTPROC_OK;
      },
      [](const Value* value) -> uint32_t {
        return value == nullptr ? 0 : static_cast<uint32_t>(value->data.index());
      },
      [](const Value* value, uint32_t* out) -> extproc_status {
        const auto* found = value == nullptr ? nullptr : std::get_if<bool>(&value->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *out = *found ? 1 : 0;
        return EXTPROC_OK;
      },
      [](const Value* value, double* out) -> extproc_status {
        const auto* found = value == nullptr ? nullptr : std::get_if<double>(&value->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *out = *found;
        return EXTPROC_OK;
      },
      [](const Value* value, extproc_str* out) -> extproc_status {
        const auto* found = value == nullptr ? nullptr : std::get_if<std::string>(&value->data);
        if (found == nullptr) return EXTPROC_INVALID;
        *out = str(*found);
        return EXTPROC_OK;
      },
      [](const Value* value) -> size_t {
        if (value == nullptr) return 0;
        if (const auto* list = std::get_if<Value::List>(&value->data)) return list->size();
        const auto* object = std::get_if<Value::Struct>(&value->data);
        return object == nullptr ? 0 : object->size();
      },
      [](const Value* value, size_t index, extproc_str* key) -> const Value* {
        if (value == nullptr) return nullptr;
        if (const auto* list = std::get_if<Value::List>(&value->data)) {
          return index < list->size() ? &list->at(index) : nullptr;
        }
        const auto* object = std::get_if<Value::Struct>(&value->data);
        if (object == nullptr || index >= object->size()) return nullptr;
        const auto entry = std::next(object->begin(), static_cast<std::ptrdiff_t>(index));
        if (key != nullptr) *key = str(entry->first);
        return &entry->second;
      },
      [](const Value* value, extproc_str key) -> const Value* {
        const auto* object = value == nullptr ? nullptr : std::get_if<Value::Struct>(&value->data);
        if (object == nullptr) return nullptr;
        const auto found = object->find(text(key));
        return found == object->end() ? nullptr : &found->second;
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key, extproc_str json) -> extproc_status {
        if (json.size == 0) return refuse(call, EXTPROC_INVALID, "no JSON");
        call->dynamic_metadata[kKey(name_space, key)] = "json " + text(json);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str name_space, extproc_str type_url,
         extproc_str message) -> extproc_status {
        if (type_url.size == 0) return refuse(call, EXTPROC_INVALID, "no type URL");
        call->dynamic_metadata[text(name_space)] = "typed " + text(type_url) + " " + text(message);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str name_space, extproc_str key) -> extproc_status {
        if (call->remove_metadata_status != EXTPROC_OK) {
          return refuse(call, call->remove_metadata_status, "not now");
        }
        const std::string name = key.size == 0 ? text(name_space) : kKey(name_space, key);
        return call->dynamic_metadata.erase(name) == 0 ? EXTPROC_NOT_FOUND : EXTPROC_OK;
      },
  };
  return kTable;
}

inline const extproc_store_api& FakeHost::store_table() {
  static constexpr extproc_store_api kTable = {
      sizeof(extproc_store_api),
      0,
      [](extproc_call* call, extproc_str key, extproc_str* value) -> extproc_status {
        const auto found = call->store.find(text(key));
        if (found == call->store.end()) return EXTPROC_NOT_FOUND;
        *value = str(found->second);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str key, extproc_str value) -> extproc_status {
        if (value.size > 65536) return refuse(call, EXTPROC_LIMIT, "full");
        call->store[text(key)] = text(value);
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str key) -> extproc_status {
        return call->store.erase(text(key)) == 0 ? EXTPROC_NOT_FOUND : EXTPROC_OK;
      },
  };
  return kTable;
}

inline void FakeHost::note_reply(extproc_call* call, const extproc_reply* given) {
  call->replied = given->status;
  call->reply_text =
      text(given->body) + "|" + text(given->details) + "|" + std::to_string(given->grpc_status);
  for (size_t i = 0; i < given->headers_count; ++i) {
    call->reply_text += "|" + text(given->headers[i].name) + "=" + text(given->headers[i].value);
  }
}

inline extproc_status FakeHost::take(extproc_call* call, size_t size, bool forward) {
  if (call->body_access < EXTPROC_ACCESS_EDIT_CHUNK)
    return refuse(call, EXTPROC_UNSUPPORTED, "this plugin observes");
  size_t before = 0, moved = 0;
  std::vector<std::string> pieces;
  for (const std::string& slice : call->body) {
    const size_t from = std::max(call->taken, before) - before;
    before += slice.size();
    if (from >= slice.size() || moved == size) continue;
    const size_t bytes = std::min(slice.size() - from, size - moved);
    if (call->grpc && bytes != slice.size()) return refuse(call, EXTPROC_UNSUPPORTED, "whole messages only");
    pieces.push_back(slice.substr(from, bytes));
    moved += bytes;
  }
  call->taken += moved;
  if (forward) call->sent.insert(call->sent.end(), pieces.begin(), pieces.end());
  return EXTPROC_OK;
}

inline const extproc_body_api& FakeHost::body_table() {
  static constexpr extproc_body_api kTable = {
      sizeof(extproc_body_api),
      0,
      [](extproc_call* call, extproc_str bytes) -> extproc_status {
        if (call->body_access < EXTPROC_ACCESS_EDIT_CHUNK)
          return refuse(call, EXTPROC_UNSUPPORTED, "this plugin observes");
        if (call->write_status != EXTPROC_OK) return refuse(call, call->write_status, "no more bytes");
        call->sent.push_back(text(bytes));
        return EXTPROC_OK;
      },
      [](extproc_call* call, size_t size) { return take(call, size, true); },
      [](extproc_call* call, size_t size) { return take(call, size, false); },
  };
  return kTable;
}

inline const extproc_control_api& FakeHost::control_table() {
  static constexpr extproc_control_api kTable = {
      sizeof(extproc_control_api),
      0,
      [](extproc_call* call, uint32_t phases) -> extproc_status {
        if (phases >= EXTPROC_PHASE_BIT(EXTPROC_LOCAL_REPLY))
          return refuse(call, EXTPROC_INVALID, "no such phase");
        call->skipped |= phases;
        return EXTPROC_OK;
      },
      [](extproc_call* call, uint64_t milliseconds) -> extproc_status {
        if (milliseconds == 0) return refuse(call, EXTPROC_INVALID, "at least 1 ms");
        if (call->extended_ms != 0) return refuse(call, EXTPROC_LIMIT, "once a message");
        call->extended_ms = milliseconds;
        return EXTPROC_OK;
      },
  };
  return kTable;
}

inline const extproc_streamed_reply_api& FakeHost::streamed_reply_table() {
  static constexpr extproc_streamed_reply_api kTable = {
      sizeof(extproc_streamed_reply_api),
      0,
      [](extproc_call* call, const extproc_reply* given) -> extproc_status {
        if (call->phase != EXTPROC_REQUEST_HEADERS) return refuse(call, EXTPROC_TOO_LATE, "no reply now");
        note_reply(call, given);
        call->reply_begun = true;
        return EXTPROC_OK;
      },
      [](extproc_call* call, extproc_str bytes) -> extproc_status {
        if (!call->reply_begun || call->reply_ended)
          return refuse(call, EXTPROC_TOO_LATE, "no reply is open");
        if (call->write_status != EXTPROC_OK) return refuse(call, call->write_status, "no more bytes");
        call->reply_pieces.push_back(text(bytes));
        return EXTPROC_OK;
      },
      [](extproc_call* call, const extproc_header* trailers, size_t count) -> extproc_status {
        if (!call->reply_begun || call->reply_ended)
          return refuse(call, EXTPROC_TOO_LATE, "no reply is open");
        call->reply_ended = true;
        if (count != 0 && !call->takes_pieces) return refuse(call, EXTPROC_UNSUPPORTED, "sent as one");
        for (size_t i = 0; i < count; ++i)
          call->reply_trailers.emplace_back(text(trailers[i].name), text(trailers[i].value));
        return EXTPROC_OK;
      },
  };
  return kTable;
}

inline const extproc_async_api& FakeHost::async_table() {
  static constexpr extproc_async_api kTable = {
      sizeof(extproc_async_api),
      0,
      [](extproc_call* call, extproc_resume_handle* handle) -> extproc_status {
        if (call->suspend_status != EXTPROC_OK)
          return refuse(call, call->suspend_status, "it cannot wait here");
        if (call->handle != 0) return refuse(call, EXTPROC_LIMIT, "once in a callback");
        *handle = call->handle = call->async->suspend();
        return EXTPROC_OK;
      },
      [](const extproc_host* host, extproc_resume_handle handle, uint64_t token) {
        return of(host).async.resume(handle, token);
      },
      [](extproc_call* call, extproc_resume_handle handle, uint64_t nanoseconds, uint64_t token) {
        const extproc_status status = call->async->resume_after(handle, nanoseconds, token);
        return status == EXTPROC_OK ? status : refuse(call, status, "once");
      },
      [](const extproc_host* host, extproc_resume_handle handle) -> uint32_t {
        return of(host).async.is_waiting(handle) ? 1 : 0;
      },
  };
  return kTable;
}

inline const extproc_work_api& FakeHost::work_table() {
  static constexpr extproc_work_api kTable = {
      sizeof(extproc_work_api),
      0,
      [](const extproc_host* host, uint64_t delay_ns, extproc_work work, void* data) {
        return of(host).work.add(delay_ns, work, data);
      },
  };
  return kTable;
}

/// One instance of a plugin on a fake host, and one stream of it.
class Driver {
 public:
  Driver(const extproc_plugin& descriptor, FakeHost& host) : descriptor_(descriptor), host_(host) {
    created = descriptor.create(&host, &instance_);
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver() {
    if (begun_) end();
    host_.work.drop();
    if (created == EXTPROC_OK) descriptor_.destroy(instance_);
  }

  extproc_status created = EXTPROC_INVALID;

  extproc_action begin(extproc_call& call) {
    call.facts.struct_size = sizeof(extproc_stream_facts);
    const extproc_action action = descriptor_.stream_begin == nullptr
                                      ? EXTPROC_CONTINUE
                                      : descriptor_.stream_begin(instance_, state(), &call, &call.facts);
    begun_ = action == EXTPROC_CONTINUE;
    return action;
  }

  /// Begins the stream if need be.
  extproc_action run(extproc_call& call, uint32_t phase, uint32_t flags = 0) {
    call.phase = phase;
    call.async = &host_.async;
    call.handle = 0;
    if (!begun_ && begin(call) != EXTPROC_CONTINUE) return EXTPROC_FAIL;
    flags_ = flags;
    return answered(call, descriptor_.on_phase(instance_, state(), &call, phase, flags));
  }

  /// Waits until the stream that waits is resumed, and goes on; EXTPROC_SUSPEND also if nobody did within ten seconds.
  extproc_action go_on(extproc_call& call) {
    const std::optional<uint64_t> token = host_.async.take(waits_for_);
    if (!token) return EXTPROC_SUSPEND;
    call.handle = 0;
    return answered(call, descriptor_.on_resumed(instance_, state(), &call, call.phase, flags_, *token));
  }

  bool waits() const { return waits_for_ != 0; }

  /// The stream that waits does so in vain.
  void cancel(extproc_call& call, uint32_t reason) {
    host_.async.forget(std::exchange(waits_for_, 0));
    descriptor_.on_cancelled(instance_, state(), &call, call.phase, reason);
  }

  /// A piece of a body arrives: behind what the plugin held back before, which is kept in `call`. What goes on is
  /// added to call.sent.
  extproc_action body(extproc_call& call, uint32_t phase, const std::string& piece, uint32_t flags = 0) {
    call.body_access =
        phase == EXTPROC_REQUEST_BODY ? descriptor_.request_body_access : descriptor_.response_body_access;
    if (!piece.empty()) call.body.push_back(piece);
    call.taken = 0;
    return run(call, phase, flags);
  }

  void end(uint32_t reason = EXTPROC_END_COMPLETED) {
    extproc_call call;
    extproc_stream_end info{sizeof(extproc_stream_end), reason, 1, 503, 2000, 1000};
    if (waits()) cancel(call, EXTPROC_CANCEL_STREAM_OVER);
    begun_ = false;
    if (descriptor_.stream_end != nullptr) descriptor_.stream_end(instance_, state(), &call, &info);
  }

 private:
  extproc_action answered(extproc_call& call, extproc_action action) {
    waits_for_ = action == EXTPROC_SUSPEND ? call.handle : 0;
    if (waits()) return action;
    host_.async.forget(call.handle);
    std::string left;
    for (const std::string& slice : call.body) left += slice;
    left.erase(0, call.taken);
    call.body.clear();
    if (left.empty()) return action;
    if (action == EXTPROC_HOLD)
      call.body.push_back(left);
    else if (action == EXTPROC_CONTINUE || action == EXTPROC_FINISH)
      call.sent.push_back(left);
    return action;
  }

  void* state() {
    if (memory_ == nullptr)
      memory_ = std::make_unique<Block[]>(descriptor_.stream_state_size / sizeof(Block) + 1);
    return memory_.get();
  }

  struct alignas(64) Block {
    unsigned char bytes[64];
  };

  const extproc_plugin& descriptor_;
  FakeHost& host_;
  void* instance_ = nullptr;
  std::unique_ptr<Block[]> memory_;
  bool begun_ = false;
  uint32_t flags_ = 0;
  extproc_resume_handle waits_for_ = 0;
};

}  // namespace extproc_test
