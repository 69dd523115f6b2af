#include "core/telemetry/metrics.h"

#include <string>

#include <extproc/abi.h>

namespace extprocd::telemetry {
namespace {

static_assert(static_cast<uint32_t>(Phase::kRequestHeaders) == EXTPROC_REQUEST_HEADERS);
static_assert(static_cast<uint32_t>(Phase::kLocalReply) == EXTPROC_LOCAL_REPLY);
static_assert(static_cast<uint32_t>(EndReason::kCompleted) == EXTPROC_END_COMPLETED);
static_assert(static_cast<uint32_t>(EndReason::kShutdown) == EXTPROC_END_SHUTDOWN);

constexpr std::array<const char*, 7> kPhases = {"request_headers",  "request_body",  "request_trailers",
                                                "response_headers", "response_body", "response_trailers",
                                                "local_reply"};
constexpr std::array<const char*, 6> kEndReasons = {"completed", "cancelled",      "replied",
                                                    "failed",    "protocol_error", "shutdown"};
constexpr std::array<const char*, 8> kResults = {"ok",    "mutated", "replied", "finished",
                                                 "error", "held",    "pending", "timeout"};
constexpr std::array<const char*, 3> kWaitResults = {"resumed", "timeout", "cancelled"};
// Seconds: what plugins wait for takes from a tenth of a millisecond to all the time that there is.
constexpr std::array<double, 14> kWaitBounds = {1e-4,   2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
                                                2.5e-2, 5e-2,   1e-1, 2e-1, 5e-1,   1,    10};
constexpr std::array<const char*, static_cast<std::size_t>(Limit::kCount)> kLimits = {
    "message_size",       "headers",     "connections",      "streams",           "held_bytes",
    "attributes",         "unfinished",  "header_list_size", "handshake_timeout", "idle_timeout",
    "keepalive_timeout",  "reset_flood", "settings_flood",   "ping_flood",        "continuation_flood",
    "empty_frames_flood", "body_size",   "total_held_bytes"};
constexpr std::array<const char*, 3> kOverloadLimits = {"streams", "held_bytes", "waiting"};
constexpr std::array<const char*, 5> kRefusals = {"invalid", "forbidden", "too_late", "limit", "unsupported"};
constexpr std::array<const char*, 3> kPolicies = {"fail", "deny", "skip"};

template <std::size_t N>
std::array<Counter*, N> counters(Registry& registry, const std::string& name, const std::string& help,
                                 const std::string& label, const std::array<const char*, N>& values,
                                 const Labels& common = {}) {
  std::array<Counter*, N> all{};
  for (std::size_t i = 0; i < N; ++i) {
    Labels labels = common;
    labels.emplace_back(label, values[i]);
    all[i] = &registry.counter(name, help, labels);
  }
  return all;
}

constexpr std::array<const char*, 7> message_phases() {
  auto phases = kPhases;
  phases[6] = "none";
  return phases;
}

}  // namespace

std::string_view to_string(Phase phase) { return kPhases.at(static_cast<std::size_t>(phase)); }

std::string_view to_string(OverloadLimit limit) {
  return kOverloadLimits.at(static_cast<std::size_t>(limit));
}

Metrics::Metrics(Registry& registry)
    : streams_started(registry.counter("extproc_streams_started_total", "Process streams opened.")),
      streams_active(registry.open_count("extproc_streams_active", "Process streams open now.")),
      streams_ended(counters(registry, "extproc_streams_ended_total", "Process streams ended, by reason.",
                             "reason", kEndReasons)),
      messages(counters(registry, "extproc_messages_total", "Messages from the data plane, by phase.",
                        "phase", message_phases())),
      received_bytes(registry.counter("extproc_message_bytes_total", "Bytes of gRPC messages, by direction.",
                                      {{"direction", "received"}})),
      sent_bytes(registry.counter("extproc_message_bytes_total", "Bytes of gRPC messages, by direction.",
                                  {{"direction", "sent"}})),
      limits(counters(registry, "extproc_limits_hit_total",
                      "Streams and connections ended or refused by one of server.limits.", "limit", kLimits)),
      protocol_errors(
          registry.counter("extproc_protocol_errors_total",
                           "Streams ended because the data plane broke the protocol or a limit.")),
      unknown_chains(registry.counter("extproc_unknown_chain_streams_total",
                                      "Streams whose x-extproc-chain names no chain.")),
      held_bytes(registry.gauge("extproc_held_bytes", "Bytes of bodies that plugins hold back now.")),
      ended_early(registry.counter("extproc_streams_ended_early_total",
                                   "Streams ended by the server because no plugin wanted what was left.")),
      mode_overrides(registry.counter("extproc_mode_overrides_total",
                                      "Replies that asked the data plane for other body modes.")),
      timeouts_extended(registry.counter("extproc_message_timeout_overrides_total",
                                         "Times that the data plane was asked for more time to answer.")),
      lost_bytes(registry.counter("extproc_held_bytes_lost_total",
                                  "Bytes of bodies that plugins still held when their stream ended.")),
      waiting(
          registry.open_count("extproc_waiting_callbacks", "Plugins' callbacks that streams wait for now.")) {
  for (std::size_t i = 0; i < overload_streams.size(); ++i) {
    overload_streams[i] = counters(
        registry, "extproc_overload_streams_total",
        "Streams that were not begun for one of server.overload's limits, by the policy that was applied.",
        "policy", kPolicies, {{"limit", kOverloadLimits[i]}});
  }
  for (std::size_t i = 0; i < processing.size(); ++i) {
    processing[i] =
        &registry.histogram("extproc_processing_duration_seconds",
                            "Time from a message's coming until its reply is known, all plugins included.",
                            kDurationBounds, {{"phase", kPhases[i]}});
  }
}

PluginMetrics::PluginMetrics(Registry& registry, std::string_view plugin, uint32_t phases) {
  const Labels common = {{"plugin", std::string(plugin)}};
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    if ((phases & EXTPROC_PHASE_BIT(i)) == 0) continue;
    Labels labels = common;
    labels.emplace_back("phase", kPhases[i]);
    calls[i] = counters(registry, "extproc_plugin_calls_total",
                        "Callbacks into plugins, by phase and result.", "result", kResults, labels);
    durations[i] = &registry.histogram("extproc_plugin_duration_seconds", "Time inside a plugin's callback.",
                                       kDurationBounds, labels);
    mutations[i] = &registry.counter("extproc_plugin_mutations_total",
                                     "Callbacks that changed headers, trailers or a body.", labels);
    watchdog_reports(registry, plugin, kPhases[i]);
  }
  refused =
      counters(registry, "extproc_plugin_refused_mutations_total",
               "Changes that were refused at the plugin's call, by reason.", "reason", kRefusals, common);
  if ((phases & (EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY))) != 0) {
    held_bytes =
        &registry.gauge("extproc_plugin_held_bytes", "Bytes of bodies that a plugin holds back now.", common);
  }
  immediate_responses = &registry.counter("extproc_plugin_immediate_responses_total",
                                          "Immediate responses given by a plugin.", common);
  failures = counters(registry, "extproc_plugin_failures_total",
                      "Failed callbacks, by the policy that was applied.", "policy", kPolicies, common);
  waiting = &registry.open_count("extproc_plugin_waiting", "Streams that wait for a plugin now.", common);
  waits =
      counters(registry, "extproc_plugin_waits_total",
               "Times that a stream waited for a plugin, by how that ended.", "result", kWaitResults, common);
  wait_durations = &registry.histogram("extproc_plugin_wait_seconds",
                                       "Time that a stream waited for a plugin.", kWaitBounds, common);
  ignored_resumes = &registry.counter("extproc_plugin_resumes_ignored_total",
                                      "Resumes that came twice, or after the suspension was over.", common);
}

Counter& chain_streams(Registry& registry, std::string_view chain) {
  return registry.counter("extproc_chain_streams_total", "Streams, by the chain that they got.",
                          {{"chain", std::string(chain)}});
}

Counter& watchdog_reports(Registry& registry, std::string_view plugin, std::string_view phase) {
  return registry.counter(
      "extproc_watchdog_reports_total",
      "Callbacks that kept a thread that serves streams for longer than server.watchdog.after.",
      {{"plugin", std::string(plugin)}, {"phase", std::string(phase)}});
}

void show_plugin_info(Registry& registry, std::string_view plugin, std::string_view id,
                      std::string_view version, std::string_view sha256) {
  registry.function("extproc_plugin_info",
                    "The configured plugins and the files that they run from; always 1.",
                    {{"plugin", std::string(plugin)},
                     {"id", std::string(id)},
                     {"version", std::string(version)},
                     {"sha256", std::string(sha256)}},
                    /*counts=*/false, [] { return 1.0; });
}

}  // namespace extprocd::telemetry
