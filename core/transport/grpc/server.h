#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "core/telemetry/metrics.h"
#include "core/transport/server.h"
#include "core/transport/services.h"

namespace extprocd::transport {

class Listener;
class TlsContext;

/// As in [server] of the configuration. A duration of 0: never.
struct GrpcOptions {
  std::vector<std::string> listen;  ///< as in server.listen
  uint32_t threads = 0;             ///< completion queues, each with a thread; 0 = one a core
  uint64_t max_message_size = 64ull << 20;
  uint32_t max_streams_per_connection = 10000;
  uint32_t max_connections = 10000;
  uint32_t max_streams = 100000;              ///< of all connections together
  uint32_t max_header_list_size = 64u << 10;  ///< of one stream's own metadata, as HTTP/2 counts it
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(10);
  std::chrono::nanoseconds idle_timeout{0};
  std::chrono::nanoseconds keepalive_interval = std::chrono::hours(2);
  std::chrono::nanoseconds keepalive_timeout = std::chrono::seconds(20);
  std::chrono::nanoseconds max_connection_age{0};  ///< a tenth more or less
  std::chrono::nanoseconds max_connection_age_grace{0};
  std::shared_ptr<TlsContext> tls;              ///< for TCP; null: plain text
  const telemetry::Metrics* metrics = nullptr;  ///< counts what the limits refuse; outlives the server
};

/// The transport on grpc++: completion queues, one for each thread. A stream stays on one queue, so its calls
/// never overlap.
///
/// grpc++ 1.51 does not tell the application of messages over the limit (the peer gets RESOURCE_EXHAUSTED; to
/// the stream it looks like the peer's half-close), nor of streams that it refuses over
/// max_streams_per_connection, nor of handshakes that fail and connections that it closes for their age or silence.
class GrpcServer final : public Server {
 public:
  /// Starts to serve. `services` has Process and outlives the server. Errors name the address and the cause.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> start(const GrpcOptions& options,
                                                           const Services& services);

  ~GrpcServer() override;

  [[nodiscard]] const std::vector<std::string>& addresses() const override;
  Drained drain(std::chrono::duration<double> deadline) override;

 private:
  struct State;
  explicit GrpcServer(std::unique_ptr<State> state);
  absl::Status accept(std::vector<Listener> listeners, const GrpcOptions& options);
  std::unique_ptr<State> state_;
};

}  // namespace extprocd::transport
