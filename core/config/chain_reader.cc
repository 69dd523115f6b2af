#include "core/config/chain_reader.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/config/data_plane_reader.h"
#include "core/config/deadline.h"
#include "core/config/match_reader.h"
#include "core/config/nearest.h"

namespace extprocd::config {
namespace {

constexpr std::array<std::string_view, 2> kOrders = {"reverse", "same"};

/// "; did you mean 'x'?", if a word is near.
std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  const std::string_view near = nearest(word, known);
  return near.empty() ? std::string() : "; did you mean '" + std::string(near) + "'?";
}

void read_plugins(TableReader& table, const std::vector<Plugin>& plugins, Chain& chain) {
  table.get("plugins", chain.plugins);
  if (table.table().find("plugins") == nullptr) {
    table.error("plugins", "is missing: name the plugins in their order, or write [] for none");
  }
  std::vector<std::string> known;
  for (const Plugin& plugin : plugins) known.push_back(plugin.name);
  for (auto name = chain.plugins.begin(); name != chain.plugins.end(); ++name) {
    if (std::find(known.begin(), known.end(), *name) == known.end()) {
      table.error("plugins",
                  "names '" + *name + "', but no [[plugin]] has that name" + suggestion(*name, known));
    } else if (std::find(chain.plugins.begin(), name, *name) != name) {
      table.error("plugins", "names '" + *name + "' twice");
    }
  }
}

PluginOverride read_override(TableReader& table, const std::string& plugin) {
  PluginOverride change;
  change.plugin = plugin;
  change.position = table.table().position;
  if (table.table().find("on_error") != nullptr) table.get("on_error", change.on_error.emplace());
  if (table.table().find("deny_status") != nullptr) {
    table.get("deny_status", change.deny_status.emplace(500), 200, 599);
  }
  if (const Value* options = table.take_table("config")) change.config = *options;
  // Asked for also where they are missing, so that a misspelt key is told what was meant.
  for (const std::string_view key : {"on_error", "deny_status"}) table.take(key);
  table.report_unknown();
  return change;
}

void read_overrides(TableReader& parent, Chain& chain) {
  const Value* value = parent.take_table("override");
  if (value == nullptr) return;
  TableReader table = parent.below("override", *value);
  for (const auto& [name, unused] : std::get<Value::Table>(value->data)) {
    const Value* entry = table.take_table(name);
    if (entry == nullptr) continue;
    if (std::find(chain.plugins.begin(), chain.plugins.end(), name) == chain.plugins.end()) {
      table.error(name,
                  "changes a plugin that is not in the chain's `plugins`" + suggestion(name, chain.plugins));
      continue;
    }
    TableReader below = table.below(name, *entry);
    chain.overrides.push_back(read_override(below, name));
  }
}

Chain read_chain(TableReader& table, const Config& config) {
  const std::vector<Chain>& earlier = config.chain;
  Chain chain;
  chain.data_plane = config.data_plane;
  chain.position = table.table().position;
  table.get_name("chain", chain.name, [&](const std::string& name) {
    return std::any_of(earlier.begin(), earlier.end(), [&](const auto& other) { return other.name == name; });
  });
  read_plugins(table, config.plugin, chain);
  table.in_table("match", [&](TableReader& match) {
    read_match(match, chain.match.emplace());
    if (std::get<Value::Table>(match.table().data).empty()) {
      table.error("match", "has no condition: leave [chain.match] out to make this the default chain");
    }
  });
  std::string order = "reverse";
  table.get("response_order", order, kOrders);
  chain.response_order = order == "same" ? ResponseOrder::kSame : ResponseOrder::kReverse;
  read_overrides(table, chain);
  table.in_table("data_plane", [&](TableReader& below) { read_data_plane(below, chain.data_plane); });
  std::optional<double> deadline = config.chains.deadline;
  read_deadline(table, deadline);
  chain.deadline = deadline.value_or(default_deadline(chain.data_plane));
  if (deadline) {
    const std::string fault = deadline_fault(*deadline, chain.data_plane);
    if (!fault.empty()) table.error("deadline", fault);
  }
  table.report_unknown();
  return chain;
}

}  // namespace

void read_chains(TableReader& top, Config& config) {
  std::vector<Chain>& chains = config.chain;
  const Chain* default_chain = nullptr;
  const std::vector<const Value*> entries = top.take_tables("chain");
  chains.reserve(entries.size());
  for (const Value* entry : entries) {
    TableReader table = top.below("chain", *entry);
    const Chain& chain = chains.emplace_back(read_chain(table, config));
    if (entry->find("match") != nullptr) continue;
    if (default_chain != nullptr) {
      table.error("match", "is missing in '" + chain.name + "', but '" + default_chain->name +
                               "' is the default chain already");
    }
    default_chain = &chain;
  }
  if (!chains.empty() && default_chain == nullptr) {
    top.error(
        "chain",
        "needs one entry without [chain.match], the default for what fits no other; with plugins = [] it "
        "lets everything pass unchanged");
  }
}

}  // namespace extprocd::config
