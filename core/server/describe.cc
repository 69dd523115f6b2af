#include "core/server/describe.h"

#include <algorithm>

#include "core/engine/callback.h"
#include "core/server/envoy_settings.h"
#include "core/telemetry/metrics.h"

namespace extprocd::server {
namespace {

using engine::ChainLink;
using Entry = engine::ChainTable::Entry;

constexpr uint32_t kResponsePhases = EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) |
                                     EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY) |
                                     EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS);

std::string phase_names(uint32_t phases) {
  std::string names;
  for (uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    if ((phases & EXTPROC_PHASE_BIT(phase)) == 0) continue;
    names +=
        (names.empty() ? "" : ", ") + std::string(telemetry::to_string(static_cast<telemetry::Phase>(phase)));
  }
  return names.empty() ? "none" : names;
}

const plugin::Module& module_of(const engine::Generation& generation, const ChainLink& link) {
  const auto found = std::find_if(generation.plugins.begin(), generation.plugins.end(),
                                  [&](const auto& hosted) { return hosted->host.get() == link.host; });
  return (*found)->plugin->module();
}

/// "20ms", or, where the phases differ, "request_body 100ms, …"; empty without any.
std::string timeout_text(const ChainLink& link) {
  const auto& all = link.timeouts;
  const bool same = std::ranges::all_of(all, [&](engine::Duration each) { return each == all[0]; });
  if (same) return all[0] == engine::Duration::zero() ? "" : engine::to_text(all[0]);
  std::string text;
  for (uint32_t phase = 0; phase < all.size(); ++phase) {
    if (all[phase] == engine::Duration::zero()) continue;
    text += (text.empty() ? "" : ", ") + phase_names(EXTPROC_PHASE_BIT(phase)) + " " +
            engine::to_text(all[phase]);
  }
  return text;
}

/// "deny with status 403"
std::string policy_text(config::FailurePolicy policy, uint32_t deny_status) {
  std::string text(config::to_string(policy));
  if (policy == config::FailurePolicy::kDeny) text += " with status " + std::to_string(deny_status);
  return text;
}

std::string seconds_text(double seconds) { return engine::to_text(engine::to_duration(seconds)); }

std::string quarantine_text(const config::Quarantine& rule, uint32_t deny_status) {
  return policy_text(rule.policy, deny_status) + " for " + seconds_text(rule.duration) + " after " +
         std::to_string(rule.failures) + " failures within " + seconds_text(rule.window);
}

std::string describe_link(const engine::Generation& generation, const ChainLink& link) {
  const plugin::Module& module = module_of(generation, link);
  std::string text = link.host->name() + ": " + link.descriptor->id + " " + link.descriptor->version + "\n";
  text += "     file     " + module.path + "\n";
  text += "     sha256   " + module.sha256 + "\n";
  text += "     on_error " + policy_text(link.on_error, link.deny_status);
  if (const auto& rule = link.host->quarantine().rule(); rule.failures > 0)
    text += "\n     quarantine " + quarantine_text(rule, link.deny_status);
  if (const std::string timeouts = timeout_text(link); !timeouts.empty())
    text += "\n     timeout  " + timeouts;
  if (link.when != nullptr) text += "\n     when     " + link.when->to_string();
  if (link.workers != nullptr) text += "\n     runs     on server.workers, for it may block";
  return text + "\n     phases   " + phase_names(link.descriptor->phases) + "\n";
}

std::string describe_entry(const engine::Generation& generation, const Entry& entry,
                           const EnvoySettings& settings) {
  const engine::Chain& chain = *entry.chain;
  std::string text = "chain '" + chain.name() + "'";
  if (entry.match) {
    text += " where " + entry.match->to_string();
  } else if (generation.chains.entries().size() > 1) {
    text += " for all other streams";
  }
  text += ":\n";
  if (chain.links().empty()) text += "  no plugins: everything passes unchanged\n";
  std::size_t place = 0;
  for (const ChainLink& link : chain.links()) {
    text += "  " + std::to_string(++place) + ". " + describe_link(generation, link);
  }
  if (chain.response_order() == config::ResponseOrder::kSame) text += "  responses in the same order\n";
  text += "  needs phases " + phase_names(chain.phases()) + "\n";
  if (chain.deadline() != engine::Duration::zero()) {
    text += "  deadline " + engine::to_text(chain.deadline()) + " for what plugins wait for\n";
  }
  text += "  Envoy filter settings:\n" + settings.to_yaml("    ");
  for (const std::string& name : settings.chain_names) {
    text +=
        "    # ExtProcPerRoute of a route for this chain:\n    #   overrides: {grpc_initial_metadata: "
        "[{key: " +
        std::string(engine::kChainMetadata) + ", value: " + name + "}]}\n";
  }
  return text;
}

const config::Chain& config_of(const engine::Generation& generation, const engine::Chain& chain) {
  const auto& chains = generation.config.chain;
  return *std::find_if(chains.begin(), chains.end(),
                       [&](const auto& entry) { return entry.name == chain.name(); });
}

/// Chains that an earlier one leaves nothing.
void find_hidden_chains(const engine::Generation& generation, std::vector<config::Diagnostic>& found) {
  const auto& entries = generation.chains.entries();
  for (auto later = entries.begin(); later != entries.end(); ++later) {
    if (!later->match) continue;
    const auto wider = std::find_if(entries.begin(), later, [&](const Entry& earlier) {
      return earlier.match && earlier.match->covers(*later->match);
    });
    if (wider == later) continue;
    found.push_back({generation.config.file, config_of(generation, *later->chain).position,
                     "chain '" + later->chain->name() + "' is never reached: chain '" + wider->chain->name() +
                         "' before it takes all that would fit it"});
  }
}

void find_idle_plugins(const engine::Generation& generation, std::vector<config::Diagnostic>& found) {
  for (const config::Plugin& entry : generation.config.plugin) {
    const auto& chains = generation.config.chain;
    const bool used = std::any_of(chains.begin(), chains.end(), [&](const config::Chain& chain) {
      return std::find(chain.plugins.begin(), chain.plugins.end(), entry.name) != chain.plugins.end();
    });
    if (used) continue;
    found.push_back({generation.config.file, entry.position,
                     "plugin '" + entry.name + "' is in no chain and is not loaded"});
  }
}

void find_idle_links(const engine::Generation& generation, std::vector<config::Diagnostic>& found) {
  for (const Entry& entry : generation.chains.entries()) {
    for (const ChainLink& link : entry.chain->links()) {
      const auto report = [&](const std::string& why) {
        found.push_back({generation.config.file, config_of(generation, *entry.chain).position,
                         "plugin '" + link.host->name() + "' is never reached in chain '" +
                             entry.chain->name() + "': " + why});
      };
      if (link.descriptor->phases == 0) report("it asks for no phase");
      if (link.workers != nullptr &&
          (link.descriptor->phases & EXTPROC_PHASE_BIT(EXTPROC_LOCAL_REPLY)) != 0) {
        found.push_back({generation.config.file, config_of(generation, *entry.chain).position,
                         "plugin '" + link.host->name() +
                             "' is not asked about other plugins' replies in chain '" + entry.chain->name() +
                             "' (local_reply): it may block, and a denial does not wait"});
      }
      if (link.when == nullptr) continue;
      if (entry.match && entry.match->excludes(link.when->request)) {
        report("its `when` and the chain's match exclude each other");
      }
      if (!link.when->status.empty() && (link.descriptor->phases & kResponsePhases) == 0) {
        report("its `when` has a status, but it asks for no phase of the response");
      }
    }
  }
}

}  // namespace

std::string overload_text(const config::Overload& overload) {
  std::string limits;
  const auto add = [&limits](uint64_t limit, std::string_view of_what) {
    if (limit == 0) return;
    limits += (limits.empty() ? "" : ", ") + std::to_string(limit) + " " + std::string(of_what);
  };
  add(overload.max_streams, "streams");
  add(overload.max_held_bytes, "held bytes");
  add(overload.max_waiting, "waiting callbacks");
  return limits.empty() ? "off" : policy_text(overload.policy, overload.deny_status) + " at " + limits;
}

std::string describe(const engine::Generation& generation) {
  std::string text;
  EnvoySettings all;
  for (const Entry& entry : generation.chains.entries()) {
    const EnvoySettings settings = envoy_settings(generation, entry);
    all.merge(settings);
    text += describe_entry(generation, entry, settings);
  }
  if (generation.chains.entries().size() > 1) {
    text += "one Envoy filter that serves all chains:\n" + all.to_yaml("    ");
  }
  return text;
}

std::vector<config::Diagnostic> never_reached(const engine::Generation& generation) {
  std::vector<config::Diagnostic> found;
  find_hidden_chains(generation, found);
  find_idle_plugins(generation, found);
  find_idle_links(generation, found);
  return found;
}

}  // namespace extprocd::server
