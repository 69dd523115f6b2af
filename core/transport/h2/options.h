#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace extprocd::telemetry {
struct Metrics;
}

namespace extprocd::transport {

class TlsContext;
class TlsHandshakes;

/// How the native transport serves; as in [server] of the configuration. A duration of 0: never.
struct H2Options {
  std::vector<std::string> listen;  ///< as in server.listen
  uint32_t threads = 0;             ///< loops, each with a thread; 0 = one a core
  uint64_t max_message_size = 64ull << 20;
  uint32_t max_header_list_size = 64u << 10;  ///< of one stream's own metadata, as HTTP/2 counts it
  uint32_t max_streams_per_connection = 10000;
  uint32_t max_connections = 10000;
  uint32_t max_streams = 100000;                  ///< of all connections together
  uint32_t max_resets_per_second = 1000;          ///< of streams that no message came on, a connection
  uint32_t max_control_frames_per_second = 1000;  ///< of each kind, a connection
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(10);
  std::chrono::nanoseconds idle_timeout{0};
  std::chrono::nanoseconds keepalive_interval = std::chrono::hours(2);
  std::chrono::nanoseconds keepalive_timeout = std::chrono::seconds(20);
  std::chrono::nanoseconds max_connection_age{0};  ///< a tenth more or less
  std::chrono::nanoseconds max_connection_age_grace{0};
  std::shared_ptr<TlsContext> tls = {};            ///< null: plain text; Unix sockets always are
  std::shared_ptr<TlsHandshakes> handshakes = {};  ///< not null with `tls`
  const telemetry::Metrics* metrics = nullptr;     ///< counts what the limits refuse; outlives the server
};

}  // namespace extprocd::transport
