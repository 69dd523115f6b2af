#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/match.h"
#include "core/config/tls.h"
#include "core/config/value.h"
#include "core/http/mutation_rules.h"
#include "core/wire/body_mode.h"

namespace extprocd::config {

/// What happens when a plugin fails: an error that it returned, an exception, a missed deadline.
enum class FailurePolicy : uint8_t {
  kFail,  ///< end the stream with the plugin's gRPC status; the data plane's own failure_mode_allow decides
  kDeny,  ///< an immediate response with `deny_status`; as kFail where none can go out any more
  kSkip,  ///< leave the plugin out for the rest of the stream
};

/// "fail", "deny" or "skip".
std::string_view to_string(FailurePolicy policy);

/// Which code speaks gRPC.
enum class Transport : uint8_t {
  kGrpc,    ///< grpc++
  kNative,  ///< ours, on nghttp2 and Boost.Asio: several times cheaper
};

/// "grpc" or "native".
std::string_view to_string(Transport transport);

/// [server.limits]. Durations in seconds; fractions are allowed.
struct Limits {
  uint64_t max_message_size = 64ull << 20;      ///< bytes of one gRPC message from the data plane
  uint32_t max_headers = 1000;                  ///< entries of one header map from the data plane
  uint32_t max_streams_per_connection = 10000;  ///< HTTP/2 SETTINGS_MAX_CONCURRENT_STREAMS
  uint32_t max_connections = 10000;             ///< over it, a connection is closed at once
  uint32_t max_streams = 100000;                ///< over it, a stream ends with RESOURCE_EXHAUSTED
  uint64_t max_held_bytes =
      4ull << 20;  ///< of one stream: held by plugins, or waiting for the data plane's window
  uint64_t max_total_held_bytes = 1ull << 30;   ///< held by plugins, of all streams together
  uint64_t max_header_list_size = 64ull << 10;  ///< bytes; HTTP/2 SETTINGS_MAX_HEADER_LIST_SIZE, per stream
  double handshake_timeout = 10;                ///< for TLS, and for HTTP/2's preface and SETTINGS
  double idle_timeout = 0;                ///< GOAWAY to a connection without a stream for so long; 0 = never
  uint32_t max_resets_per_second = 1000;  ///< of a connection's streams that had no whole answer yet
  uint32_t max_control_frames_per_second =
      1000;  ///< of each kind, of a connection: PING, SETTINGS, empty frames
};

/// [server.keepalive]. Seconds; fractions are allowed.
struct Keepalive {
  double interval = 7200;         ///< of a connection's silence, after which it is sent a PING; 0 = never
  double timeout = 20;            ///< for the answer; without one the connection is closed
  double max_connection_age = 0;  ///< GOAWAY after it, 10 % sooner or later; 0 = never
  double max_connection_age_grace = 0;  ///< after that GOAWAY, until streams are cancelled; 0 = never
};

/// [server.drain]: what SIGTERM does. Seconds; fractions are allowed.
struct Drain {
  double grace = 1.0;      ///< from health NOT_SERVING to GOAWAY
  double deadline = 30.0;  ///< from GOAWAY until streams still open are cancelled
};

/// [server.workers]: threads for plugins that may block, and for work that plugins ask for.
struct Workers {
  uint32_t threads = 8;       ///< begun when a plugin wants them
  uint32_t max_queue = 1000;  ///< callbacks and pieces of work that wait for a thread
};

/// [server.watchdog]. Seconds; fractions are allowed.
struct Watchdog {
  double after = 0.1;  ///< a callback that keeps a thread of the transport for so long is reported; 0 = never
};

/// [server.overload]: beyond one of these, new streams are not begun. 0 = no such limit.
struct Overload {
  uint32_t max_streams = 0;     ///< open at once
  uint64_t max_held_bytes = 0;  ///< held by plugins, of all streams together
  uint32_t max_waiting = 0;     ///< plugins' callbacks that are suspended or wait for a worker
  /// kFail: RESOURCE_EXHAUSTED, so that the data plane's failure_mode_allow decides; kSkip: passes unprocessed.
  FailurePolicy policy = FailurePolicy::kFail;
  uint32_t deny_status = 503;  ///< HTTP status of kDeny, 200 to 599
};

/// [server]
struct Server {
  std::vector<std::string> listen = {"127.0.0.1:18080"};  ///< host:port, [::]:port, unix:/path
  uint32_t threads = 0;                                   ///< 0 = one a core
  Transport transport = Transport::kNative;
  Limits limits;
  Keepalive keepalive;
  Drain drain;
  Workers workers;
  Watchdog watchdog;
  Overload overload;
  std::optional<Tls> tls;  ///< none: plain text. Never for Unix sockets
};

/// [admin]
struct Admin {
  std::string listen = "127.0.0.1:18081";  ///< host:port; "off" for none
};

/// [log]
struct Log {
  std::string level = "info";   ///< trace, debug, info, warn, error, off
  std::string format = "auto";  ///< text, json; auto = text on a terminal, json otherwise
};

/// [plugins]
struct Plugins {
  std::string directory;    ///< empty = beside the binary, or the installed library folder
  std::string runtime_dir;  ///< empty = $RUNTIME_DIRECTORY, else a private folder in /tmp
};

/// [mutation_rules]: which headers plugins may change.
using MutationRules = http::MutationRules;

/// [data_plane], and [chain.data_plane] of one chain: how the operator configured the filter, as far as it does not say
/// itself.
struct DataPlane {
  /// Where the data plane does not tell its modes (Envoy before 1.34). Also lets a plugin that they do not suit be
  /// refused when it is loaded.
  std::optional<wire::BodyMode> request_body_mode;
  std::optional<wire::BodyMode> response_body_mode;
  bool allow_mode_override = false;  ///< as the filter has it: body modes may be chosen by what plugins need
  bool streamed_immediate_response = false;  ///< Envoy 1.37 and later take local replies in pieces
  double message_timeout = 0;                ///< seconds, as the filter has it; 0 = not stated
  double max_message_timeout = 0;            ///< seconds, as the filter has it; 0 = no time can be asked for
  bool early_end =
      true;  ///< a stream of which no plugin wants more is ended; false: all its messages are answered
};

/// [plugin.quarantine]: a plugin that fails again and again is put aside for a time. Seconds; fractions are allowed.
struct Quarantine {
  uint32_t failures = 0;  ///< within `window`; 0 = never
  double window = 10;
  double duration = 30;                         ///< then one stream tries it again
  FailurePolicy policy = FailurePolicy::kDeny;  ///< kDeny or kSkip
};

/// How long a plugin may take for one phase, waiting included, in seconds; by phase (EXTPROC_*). 0 = as long as the
/// chain's deadline allows.
using PhaseTimeouts = std::array<double, 6>;

/// One [[plugin]].
struct Plugin {
  std::string name;    ///< unique; metric label, log name, chain reference
  std::string module;  ///< file name in plugins.directory
  FailurePolicy on_error = FailurePolicy::kFail;
  uint32_t deny_status = 500;  ///< HTTP status of kDeny, and of a response body that is too large, 200 to 599
  uint64_t max_body_bytes = 1ull << 20;  ///< of one body, held for this plugin
  PhaseTimeouts timeouts{};              ///< `timeout`, or [plugin.timeouts] by phase
  Quarantine quarantine;
  bool may_block = false;             ///< runs on server.workers; also where its descriptor says so
  std::optional<std::string> sha256;  ///< 64 lower-case hex digits
  When when;                          ///< [plugin.when]; empty: always
  Value config;                       ///< [plugin.config]; always a table
  Position position;                  ///< of the entry
};

/// [chains]: what holds for all of them.
struct Chains {
  /// When a stream's gRPC metadata names a chain that there is not. kSkip: everything passes unchanged.
  FailurePolicy on_unknown = FailurePolicy::kFail;
  uint32_t deny_status = 500;  ///< HTTP status of kDeny, 200 to 599
  /// Of chains that say nothing else, see Chain::deadline.
  std::optional<double> deadline;
};

/// In which order a chain's plugins see the response's phases.
enum class ResponseOrder : uint8_t {
  kReverse,  ///< the last in the list first, as Envoy's filters do
  kSame,     ///< as in the list
};

/// [chain.override.NAME]: what a plugin has otherwise in this chain.
struct PluginOverride {
  std::string plugin;
  std::optional<FailurePolicy> on_error;
  std::optional<uint32_t> deny_status;
  std::optional<Value> config;  ///< laid over the plugin's own options, table by table; such a chain gets an
                                ///< instance of its own
  Position position;
};

/// One [[chain]].
struct Chain {
  std::string name;                   ///< unique
  std::vector<std::string> plugins;   ///< names of [[plugin]] entries, in the order of requests
  std::optional<RequestMatch> match;  ///< none: the default chain
  ResponseOrder response_order = ResponseOrder::kReverse;
  std::vector<PluginOverride> overrides;
  DataPlane data_plane;  ///< [data_plane] where the chain says nothing else
  /// Seconds from a message's coming until its answer is sent, however long its plugins would wait; 0 = no end.
  double deadline = 10;
  Position position;
};

/// A whole configuration, valid in itself: names are unique and known, numbers in range, addresses well formed, and
/// of the chains, if there are any, exactly one is the default.
struct Config {
  std::string file;  ///< as given on the command line; empty when built in
  Server server;
  Admin admin;
  Log log;
  Plugins plugins;
  MutationRules mutation_rules;
  DataPlane data_plane;
  std::vector<Plugin> plugin;
  Chains chains;
  std::vector<Chain> chain;  ///< empty: one chain, "default", of all plugins in file order
};

/// One thing that is wrong, at a place.
struct Diagnostic {
  std::string file;
  Position position;  ///< line 0 where no place fits
  std::string text;   ///< says what is wrong and what to write instead

  /// "file:line:column: text"
  [[nodiscard]] std::string to_string() const;
};

/// What reading a file gave: `config` is meaningful only if `errors` is empty.
struct LoadResult {
  Config config;
  std::vector<Diagnostic> errors;
};

/// The configuration that the server has with no file: one `instructions` plugin.
Config default_config();

/// Reads a TOML file. All errors but those of syntax are collected. Never throws.
LoadResult load_file(const std::string& path);

/// Reads TOML text; `file` is what messages call it.
LoadResult load_text(std::string_view text, const std::string& file);

}  // namespace extprocd::config
