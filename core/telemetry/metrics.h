#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/telemetry/registry.h"

namespace extprocd::telemetry {

// The numbers of these are places in the arrays below; those of Phase and EndReason are the contract's
// (abi.h).

enum class Phase : uint8_t {
  kRequestHeaders,
  kRequestBody,
  kRequestTrailers,
  kResponseHeaders,
  kResponseBody,
  kResponseTrailers,
  kLocalReply
};
enum class EndReason : uint8_t { kCompleted, kCancelled, kReplied, kFailed, kProtocol, kShutdown };
enum class CallResult : uint8_t { kOk, kMutated, kReplied, kFinished, kError, kHeld, kPending, kTimeout };
/// How a plugin's suspension ended.
enum class WaitResult : uint8_t { kResumed, kTimeout, kCancelled };
enum class Limit : uint8_t {
  kMessageSize,
  kHeaders,
  kConnections,
  kStreams,
  kHeldBytes,
  kAttributes,
  kUnfinished,
  kHeaderListSize,
  kHandshakeTimeout,
  kIdleTimeout,
  kKeepaliveTimeout,
  kResetFlood,
  kSettingsFlood,
  kPingFlood,
  kContinuationFlood,
  kEmptyFramesFlood,
  kBodySize,        ///< of one body for one plugin: its max_body_bytes
  kTotalHeldBytes,  ///< of all streams together
  kCount
};
/// Of server.overload.
enum class OverloadLimit : uint8_t { kStreams, kHeldBytes, kWaiting };
enum class Refusal : uint8_t { kInvalid, kForbidden, kTooLate, kLimit, kUnsupported };

/// "request_headers", …
std::string_view to_string(Phase phase);
/// "streams", "held_bytes", "waiting"
std::string_view to_string(OverloadLimit limit);

/// The server's own metrics, made once. Counting is safe from any thread.
struct Metrics {
  explicit Metrics(Registry& registry);

  Counter& streams_started;
  OpenCount& streams_active;
  std::array<Counter*, 6> streams_ended;  ///< by EndReason
  std::array<Counter*, 7> messages;       ///< by Phase; the last is for messages without one (window updates)
  Counter& received_bytes;
  Counter& sent_bytes;
  std::array<Histogram*, 6>
      processing;  ///< by Phase: seconds from a message's coming until its reply is known
  std::array<Counter*, static_cast<std::size_t>(Limit::kCount)> limits;  ///< by Limit
  Counter& protocol_errors;
  Counter& unknown_chains;
  Gauge& held_bytes;  ///< of bodies, that plugins hold back, in all streams
  Counter& ended_early;
  Counter& mode_overrides;
  Counter& timeouts_extended;
  Counter& lost_bytes;
  /// By OverloadLimit, and config::FailurePolicy: fail, deny, skip.
  std::array<std::array<Counter*, 3>, 3> overload_streams{};
  OpenCount& waiting;  ///< callbacks that are suspended, of all plugins
};

/// The metrics of one configured plugin. Phases that it did not ask for have null places; LocalReply counts
/// as asked for if it is in the mask.
struct PluginMetrics {
  /// `phases`: EXTPROC_PHASE_BIT of those that the plugin asked for.
  PluginMetrics(Registry& registry, std::string_view plugin, uint32_t phases);

  std::array<std::array<Counter*, 8>, 7> calls{};  ///< by Phase and CallResult
  std::array<Histogram*, 7> durations{};           ///< by Phase: seconds inside a callback
  std::array<Counter*, 7> mutations{};             ///< by Phase: callbacks that changed something
  std::array<Counter*, 5> refused;                 ///< by Refusal
  Counter* immediate_responses;
  Gauge* held_bytes = nullptr;       ///< of bodies; null if it asked for none
  std::array<Counter*, 3> failures;  ///< by config::FailurePolicy: fail, deny, skip
  OpenCount* waiting;                ///< streams that wait for the plugin
  std::array<Counter*, 3> waits;     ///< by WaitResult
  Histogram* wait_durations;         ///< seconds from a suspension to its end
  Counter* ignored_resumes;
};

/// extproc_chain_streams_total: how many streams got a chain.
Counter& chain_streams(Registry& registry, std::string_view chain);

/// extproc_watchdog_reports_total: callbacks, of a phase or "stream_end", that kept a thread.
Counter& watchdog_reports(Registry& registry, std::string_view plugin, std::string_view phase);

/// extproc_plugin_info: which file a configured plugin runs from.
void show_plugin_info(Registry& registry, std::string_view plugin, std::string_view id,
                      std::string_view version, std::string_view sha256);

/// extproc_build_info, and the process_* metrics that Prometheus' client libraries have, read from /proc when
/// shown.
void show_process_metrics(Registry& registry, std::string_view version);

}  // namespace extprocd::telemetry
