#include "test/bench/load/connections.h"

#include <algorithm>

namespace extprocd::bench {
namespace {

// As Envoy 1.40 sends it with `envoy_grpc`, in its order.
const Metadata& envoy_metadata() {
  static const Metadata metadata = {
      {":method", "POST"},          {":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"},
      {":authority", "extproc"},    {":scheme", "http"},
      {"te", "trailers"},           {"content-type", "application/grpc"},
      {"x-envoy-internal", "true"}, {"x-forwarded-for", "192.0.2.2"},
  };
  return metadata;
}

std::size_t quotient_up(std::size_t whole, std::size_t part) { return (whole + part - 1) / part; }

}  // namespace

Connections::Connections(const Metadata& metadata) : metadata_(envoy_metadata()) {
  metadata_.insert(metadata_.end(), metadata.begin(), metadata.end());
  for (const auto& [name, value] : metadata_) headers_.push_back(http2_header(name, value));
}

absl::StatusOr<std::unique_ptr<Connections>> Connections::open(const Options& options) {
  std::unique_ptr<Connections> result(new Connections(options.metadata));
  if (absl::Status status = result->connect(options, options.count); !status.ok()) return status;
  const std::size_t each = quotient_up(options.streams, options.count);
  const uint32_t allowed = result->sessions_.front()->peer_max_streams().value_or(0);
  if (each > allowed && options.more_allowed && allowed > 0) {
    const std::size_t needed = quotient_up(options.streams, allowed);
    if (absl::Status status = result->connect(options, needed); !status.ok()) return status;
  } else if (each > allowed) {
    return absl::ResourceExhaustedError(options.address + " allows " + std::to_string(allowed) +
                                        " streams a connection, not " + std::to_string(each) +
                                        "; use more --connections or fewer --streams");
  }
  return result;
}

absl::Status Connections::connect(const Options& options, std::size_t count) {
  while (sessions_.size() < count) {
    absl::StatusOr<Descriptor> socket = connect_to(options.address);
    if (!socket.ok()) return socket.status();
    sessions_.push_back(std::make_unique<Session>(std::move(*socket), poller_));
  }
  const Clock::time_point deadline = Clock::now() + options.timeout;
  while (!have_settings()) {
    wait(deadline - Clock::now());
    if (const std::string why = lost(); !why.empty()) {
      return absl::UnavailableError(options.address + " does not serve gRPC: " + why);
    }
    if (Clock::now() >= deadline) {
      return absl::DeadlineExceededError(options.address + " does not serve gRPC: no HTTP/2 settings came");
    }
  }
  return absl::OkStatus();
}

bool Connections::have_settings() const {
  return std::ranges::all_of(sessions_,
                             [](const auto& session) { return session->peer_max_streams().has_value(); });
}

void Connections::begin(std::unique_ptr<Exchange> exchange) {
  const auto fewest = std::ranges::min_element(
      sessions_, {}, [](const std::unique_ptr<Session>& session) { return session->open_streams(); });
  (*fewest)->open(std::move(exchange), headers_);
}

void Connections::wait(std::optional<std::chrono::nanoseconds> timeout) {
  for (const auto& session : sessions_) session->flush();
  poller_.wait(timeout);
}

std::string Connections::lost() const {
  for (const auto& session : sessions_) {
    if (!session->lost().empty()) return session->lost();
  }
  return {};
}

}  // namespace extprocd::bench
