// The extension tables that a plugin uses in create: typed configuration and metrics.

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/plugin_host.h"

namespace extprocd::engine {
namespace {

using config::Value;

const ConfigNode& node_of(const extproc_config_node* node) {
  return *reinterpret_cast<const ConfigNode*>(node);
}
const extproc_config_node* to_node(const ConfigNode* node) {
  return reinterpret_cast<const extproc_config_node*>(node);
}

const extproc_config_node* root(const extproc_host* host) {
  return to_node(&PluginHost::of(host).config_root());
}

const extproc_config_node* find(const extproc_config_node* table, extproc_str key) {
  return table == nullptr ? nullptr : to_node(node_of(table).find(from_abi(key)));
}

uint32_t type(const extproc_config_node* node) {
  // The order of the alternatives in Value::data is the order of the EXTPROC_CONFIG_* numbers.
  static_assert(std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_BOOL, decltype(Value::data)>, bool>);
  static_assert(
      std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_INTEGER, decltype(Value::data)>, int64_t>);
  static_assert(
      std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_FLOAT, decltype(Value::data)>, double>);
  static_assert(
      std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_STRING, decltype(Value::data)>, std::string>);
  static_assert(
      std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_ARRAY, decltype(Value::data)>, Value::Array>);
  static_assert(
      std::is_same_v<std::variant_alternative_t<EXTPROC_CONFIG_TABLE, decltype(Value::data)>, Value::Table>);
  return node == nullptr ? EXTPROC_CONFIG_TABLE : static_cast<uint32_t>(node_of(node).value().data.index());
}

size_t size(const extproc_config_node* node) { return node == nullptr ? 0 : node_of(node).children().size(); }

const extproc_config_node* at(const extproc_config_node* node, size_t index, extproc_str* key) {
  const ConfigNode* child = node == nullptr ? nullptr : node_of(node).at(index);
  if (child != nullptr && key != nullptr) *key = to_abi(child->key());
  return to_node(child);
}

template <typename T, typename Out>
extproc_status get(const extproc_config_node* node, Out* out) {
  if (node == nullptr || out == nullptr) return EXTPROC_INVALID;
  const T* value = std::get_if<T>(&node_of(node).value().data);
  if (value == nullptr) return EXTPROC_INVALID;
  if constexpr (std::is_same_v<T, std::string>) {
    *out = to_abi(*value);
  } else {
    *out = static_cast<Out>(*value);
  }
  return EXTPROC_OK;
}

extproc_status get_bool(const extproc_config_node* node, uint32_t* out) { return get<bool>(node, out); }
extproc_status get_integer(const extproc_config_node* node, int64_t* out) { return get<int64_t>(node, out); }
extproc_status get_float(const extproc_config_node* node, double* out) {
  return get<double>(node, out) == EXTPROC_OK ? EXTPROC_OK : get<int64_t>(node, out);
}
extproc_status get_string(const extproc_config_node* node, extproc_str* out) {
  return get<std::string>(node, out);
}

void error(const extproc_host* host, const extproc_config_node* node, extproc_str text) {
  const auto position = node == nullptr ? config::Position{} : node_of(node).value().position;
  PluginHost::of(host).report(position, std::string(from_abi(text)));
}

extproc_str json(const extproc_host* host) {
  PluginHost::of(host).config_root().mark_all_read();
  return to_abi(PluginHost::of(host).config_json());
}

telemetry::Labels labels_of(const PluginHost& host, const extproc_header* labels, size_t count) {
  telemetry::Labels all = {{"plugin", host.name()}};
  for (size_t i = 0; labels != nullptr && i < count; ++i) {
    all.emplace_back(from_abi(labels[i].name), from_abi(labels[i].value));
  }
  return all;
}

/// Makes a metric by `make(name, help, labels)`, which gives a StatusOr of a pointer to it.
template <typename Field, typename Make>
extproc_metric* make_metric(const extproc_host* table, extproc_str name, const extproc_header* labels,
                            size_t count, Field field, Make make) {
  const PluginHost& host = PluginHost::of(table);
  try {
    auto made = make(host.metric_name(from_abi(name)), labels_of(host, labels, count));
    if (made.ok()) {
      extproc_metric metric;
      metric.*field = *made;
      return host.keep(metric);
    }
    host.report({}, "metric '" + std::string(from_abi(name)) + "': " + std::string(made.status().message()));
  } catch (const std::exception& exception) {
    host.report({}, "metric '" + std::string(from_abi(name)) + "': " + exception.what());
  }
  return nullptr;
}

extproc_metric* counter(const extproc_host* host, extproc_str name, extproc_str help,
                        const extproc_header* labels, size_t count) {
  return make_metric(host, name, labels, count, &extproc_metric::counter,
                     [&](const auto& full_name, const auto& all_labels) {
                       return PluginHost::of(host).registry().try_float_counter(
                           full_name, std::string(from_abi(help)), all_labels);
                     });
}

extproc_metric* gauge(const extproc_host* host, extproc_str name, extproc_str help,
                      const extproc_header* labels, size_t count) {
  return make_metric(
      host, name, labels, count, &extproc_metric::gauge, [&](const auto& full_name, const auto& all_labels) {
        return PluginHost::of(host).registry().try_gauge(full_name, std::string(from_abi(help)), all_labels);
      });
}

extproc_metric* histogram(const extproc_host* host, extproc_str name, extproc_str help,
                          const extproc_header* labels, size_t count, const double* bounds,
                          size_t bound_count) {
  const std::vector<double> limits =
      bounds == nullptr ? std::vector<double>() : std::vector<double>(bounds, bounds + bound_count);
  return make_metric(host, name, labels, count, &extproc_metric::histogram,
                     [&](const auto& full_name, const auto& all_labels) {
                       return PluginHost::of(host).registry().try_histogram(
                           full_name, std::string(from_abi(help)), limits, all_labels);
                     });
}

void add(extproc_metric* metric, double amount) {
  if (metric == nullptr) return;
  if (metric->counter != nullptr && amount >= 0) metric->counter->add(amount);
  if (metric->gauge != nullptr) metric->gauge->add(amount);
}

void set(extproc_metric* metric, double value) {
  if (metric != nullptr && metric->gauge != nullptr) metric->gauge->set(value);
}

void observe(extproc_metric* metric, double value) {
  if (metric != nullptr && metric->histogram != nullptr) metric->histogram->observe(value);
}

}  // namespace

const extproc_config_api& config_extension() {
  static constexpr extproc_config_api kTable = {sizeof(extproc_config_api),
                                                0,
                                                &root,
                                                &find,
                                                &type,
                                                &size,
                                                &at,
                                                &get_bool,
                                                &get_integer,
                                                &get_float,
                                                &get_string,
                                                &error,
                                                &json};
  return kTable;
}

const extproc_metrics_api& metrics_extension() {
  static constexpr extproc_metrics_api kTable = {
      sizeof(extproc_metrics_api), 0, &counter, &gauge, &histogram, &add, &set, &observe};
  return kTable;
}

}  // namespace extprocd::engine
