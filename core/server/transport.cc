#include "core/server/transport.h"

#include <chrono>
#include <utility>

#include "core/transport/grpc/server.h"
#include "core/transport/h2/server.h"
#include "core/transport/tls.h"
#include "core/transport/tls_credentials.h"
#include "core/transport/tls_handshakes.h"

namespace extprocd::server {
namespace {

std::chrono::nanoseconds duration(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

transport::GrpcOptions grpc_options(const config::Server& config, const telemetry::Metrics& metrics,
                                    std::shared_ptr<transport::TlsContext> tls) {
  return {.listen = config.listen,
          .threads = config.threads,
          .max_message_size = config.limits.max_message_size,
          .max_streams_per_connection = config.limits.max_streams_per_connection,
          .max_connections = config.limits.max_connections,
          .max_streams = config.limits.max_streams,
          .max_header_list_size = static_cast<uint32_t>(config.limits.max_header_list_size),
          .handshake_timeout = duration(config.limits.handshake_timeout),
          .idle_timeout = duration(config.limits.idle_timeout),
          .keepalive_interval = duration(config.keepalive.interval),
          .keepalive_timeout = duration(config.keepalive.timeout),
          .max_connection_age = duration(config.keepalive.max_connection_age),
          .max_connection_age_grace = duration(config.keepalive.max_connection_age_grace),
          .tls = std::move(tls),
          .metrics = &metrics};
}

transport::H2Options h2_options(const config::Server& config, telemetry::Registry& registry,
                                const telemetry::Metrics& metrics,
                                std::shared_ptr<transport::TlsContext> tls) {
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
          .tls = tls,
          .handshakes = tls ? std::make_shared<transport::TlsHandshakes>(registry) : nullptr,
          .metrics = &metrics};
}

template <typename Transport>
absl::StatusOr<std::unique_ptr<transport::Server>> as_server(
    absl::StatusOr<std::unique_ptr<Transport>> started) {
  if (!started.ok()) return started.status();
  return std::unique_ptr<transport::Server>(*std::move(started));
}

/// grpc++ 1.51 keeps it to itself how TLS 1.2 is refused.
absl::Status check_version(const config::Server& config) {
  if (config.transport != config::Transport::kGrpc || config.tls->min_version == config::TlsVersion::k12)
    return absl::OkStatus();
  return absl::FailedPreconditionError(
      "server.tls.min_version must be \"1.2\" with transport = \"grpc\", or the transport \"native\"");
}

}  // namespace

absl::Status check_tls(const config::Config& config) {
  if (!config.server.tls) return absl::OkStatus();
  absl::Status status = check_version(config.server);
  if (status.ok()) status = transport::read_tls_credentials(*config.server.tls).status();
  if (status.ok()) return status;
  const config::Diagnostic diagnostic = {config.file, config.server.tls->position,
                                         std::string(status.message())};
  return {status.code(), diagnostic.to_string()};
}

absl::StatusOr<std::unique_ptr<transport::Server>> start_transport(const config::Server& config,
                                                                   telemetry::Registry& registry,
                                                                   const telemetry::Metrics& metrics,
                                                                   const transport::Services& services) {
  std::shared_ptr<transport::TlsContext> tls;
  if (config.tls) {
    if (absl::Status status = check_version(config); !status.ok()) return status;
    auto loaded = transport::TlsContext::load(*config.tls, registry);
    if (!loaded.ok()) return loaded.status();
    tls = *std::move(loaded);
  }
  if (config.transport == config::Transport::kNative) {
    return as_server(
        transport::H2Server::start(h2_options(config, registry, metrics, std::move(tls)), services));
  }
  return as_server(transport::GrpcServer::start(grpc_options(config, metrics, std::move(tls)), services));
}

}  // namespace extprocd::server
