#include "core/transport/h2/server.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "core/transport/accepted.h"
#include "core/transport/h2/acceptor.h"
#include "core/transport/h2/channel.h"
#include "core/transport/h2/loop.h"
#include "core/transport/h2/shared.h"
#include "core/transport/h2/tls_channel.h"
#include "core/transport/listen.h"

namespace extprocd::transport {
namespace {

using Clock = std::chrono::steady_clock;

// How long idle connections get to leave by themselves after GOAWAY.
constexpr std::chrono::seconds kFarewell{1};

}  // namespace

struct H2Server::State {
  State(const H2Options& options, const Services& services)
      : shared(services, options), max_connections(within_file_limit(options.max_connections)) {}

  void accept(Descriptor socket);

  h2::Shared shared;
  const std::size_t max_connections;
  std::vector<std::unique_ptr<h2::Loop>> loops;
  std::vector<std::string> addresses;
  std::unique_ptr<h2::Acceptor> acceptor;
  bool drained = false;
};

void H2Server::State::accept(Descriptor socket) {
  if (shared.connections.load() >= max_connections) {
    shared.count(telemetry::Limit::kConnections);
    return;
  }
  shared.connections.fetch_add(1);
  std::string peer = peer_of(socket.get());
  auto channel = is_unix_socket(socket.get()) || !shared.options.tls
                     ? h2::make_plain_channel(std::move(socket))
                     : h2::make_tls_channel(std::move(socket), shared.options.tls->new_session(),
                                            *shared.options.handshakes, peer);
  if (!channel) {
    shared.connection_over();
    return;
  }
  const auto least = std::min_element(loops.begin(), loops.end(),
                                      [](const auto& a, const auto& b) { return a->load() < b->load(); });
  (*least)->adopt(std::move(channel), std::move(peer));
}

absl::StatusOr<std::unique_ptr<H2Server>> H2Server::start(const H2Options& options,
                                                          const Services& services) {
  auto state = std::make_unique<State>(options, services);
  auto listeners = Listener::open_all(options.listen);
  if (!listeners.ok()) return listeners.status();
  for (const Listener& listener : *listeners) state->addresses.push_back(listener.address().to_string());
  const uint32_t threads =
      options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  for (uint32_t i = 0; i < threads; ++i) {
    state->loops.push_back(std::make_unique<h2::Loop>(state->shared));
    state->loops.back()->start();
  }
  state->acceptor = std::make_unique<h2::Acceptor>(
      *std::move(listeners), [it = state.get()](Descriptor socket) { it->accept(std::move(socket)); });
  return std::unique_ptr<H2Server>(new H2Server(std::move(state)));
}

H2Server::H2Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

H2Server::~H2Server() {
  if (!state_->drained) drain(std::chrono::seconds(0));
}

const std::vector<std::string>& H2Server::addresses() const { return state_->addresses; }

Server::Drained H2Server::drain(std::chrono::duration<double> deadline) {
  h2::Shared& shared = state_->shared;
  state_->drained = true;
  state_->acceptor->stop();
  shared.begin_drain();
  const std::size_t open = shared.streams.load();
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(deadline);
  shared.services.end_long_lived();
  for (const auto& loop : state_->loops) loop->drain();
  shared.wait_until(shared.streams, end);
  shared.wait_until(shared.connections, std::min(end, Clock::now() + kFarewell));
  for (const auto& loop : state_->loops) loop->close_all();
  shared.wait_until(shared.connections, Clock::time_point::max());
  for (const auto& loop : state_->loops) loop->stop();
  const std::size_t cancelled = shared.cancelled.load();
  return {open - std::min(open, cancelled), cancelled};
}

}  // namespace extprocd::transport
