#include "core/server/transport.h"

#include <chrono>
#include <utility>

#include "core/transport/grpc/server.h"
#include "core/transport/h2/server.h"
#include "core/transport/tls.h"
#include "core/transport/tls_handshakes.h"

namespace extprocd::server {
namespace {

std::chrono::nanoseconds duration(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

transport::GrpcOptions grpc_options(const config::Server& config, const telemetry::Metrics& metrics) {
  return {.listen = config.listen,
          .threads = config.threads,
          .max_message_size = config.limits.max_message_size,
          .max_streams_per_connection = config.limits.max_streams_per_connection,
          .max_connections = config.limits.max_connections,
          .max_streams = config.limits.max_streams,
          .metrics = &metrics};
}

transport::H2Options h2_options(const config::Server& config, const telemetry::Metrics& metrics) {
  const config::Limits& limits = config.limits;
  const config::Keepalive& keepalive = config.keepalive;
  return {.listen = config.listen,
          .threads = config.threads,
          .max_message_size = limits.max_message_size,
          .max_header_list_size = static_cast<uint32_t>(limits.max_header_list_size),
          .max_streams_per_connection = limits.max_streams_per_connection,
          .max_connections = limits.max_connections,
          .max_streams = limits.max_streams,
          .max_resets_per_second = limits.max_resets_per_second,
          .max_control_frames_per_second = limits.max_control_frames_per_second,
          .handshake_timeout = duration(limits.handshake_timeout),
          .idle_timeout = duration(limits.idle_timeout),
          .keepalive_interval = duration(keepalive.interval),
          .keepalive_timeout = duration(keepalive.timeout),
          .max_connection_age = duration(keepalive.max_connection_age),
          .max_connection_age_grace = duration(keepalive.max_connection_age_grace),
          .metrics = &metrics};
}

template <typename Transport>
absl::StatusOr<std::unique_ptr<transport::Server>> as_server(
    absl::StatusOr<std::unique_ptr<Transport>> started) {
  if (!started.ok()) return started.status();
  return std::unique_ptr<transport::Server>(*std::move(started));
}

}  // namespace

absl::StatusOr<std::unique_ptr<transport::Server>> start_transport(const config::Server& config,
                                                                   telemetry::Registry& registry,
                                                                   const telemetry::Metrics& metrics,
                                                                   const transport::Services& services) {
  if (config.transport == config::Transport::kNative) {
    transport::H2Options options = h2_options(config, metrics);
    if (config.tls) {
      auto tls = transport::TlsContext::load(*config.tls, registry);
      if (!tls.ok()) return tls.status();
      options.tls = *std::move(tls);
      options.handshakes = std::make_shared<transport::TlsHandshakes>(registry);
    }
    return as_server(transport::H2Server::start(options, services));
  }
  if (config.tls) return absl::UnimplementedError("[server.tls] needs transport = \"native\"");
  return as_server(transport::GrpcServer::start(grpc_options(config, metrics), services));
}

}  // namespace extprocd::server
