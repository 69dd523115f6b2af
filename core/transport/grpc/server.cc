#include "core/transport/grpc/server.h"

#include <algorithm>
#include <future>
#include <limits>
#include <set>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include "core/telemetry/log.h"
#include "core/transport/grpc/acceptor.h"
#include "core/transport/grpc/call.h"
#include "core/transport/grpc/tls_server_credentials.h"
#include "core/transport/listen.h"

namespace extprocd::transport {
namespace {

// Streams that a queue can take at once before its thread asks for more.
constexpr int kAwaitedProcessCalls = 128;
constexpr int kAwaitedOtherCalls = 8;

// Messages of the largest size that may be under way on one connection before the first is whole.
constexpr uint64_t kMessagesOfNothing = 4;
// What a connection may always send of which nothing comes: PINGs and WINDOW_UPDATEs add up.
constexpr uint64_t kLeastOfNothing = 16 << 20;

// How long idle connections get to leave by themselves after GOAWAY.
constexpr std::chrono::seconds kFarewell{1};

/// gRPC writes to standard error by itself; its errors go into our log instead. Peers can cause them.
void quiet_grpc() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    static telemetry::RateLimit limit(10);
    if (line->severity != GPR_LOG_SEVERITY_ERROR || !limit.allow()) return;
    telemetry::log(telemetry::Level::kWarn, "grpc", line->message);
  });
}

int to_int(uint64_t number) {
  return static_cast<int>(std::min<uint64_t>(number, std::numeric_limits<int>::max()));
}

/// For options where INT_MAX means never.
int to_milliseconds(std::chrono::nanoseconds duration) {
  if (duration.count() == 0) return std::numeric_limits<int>::max();
  return to_int(static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count()));
}

void set_arguments(grpc::ServerBuilder& builder, const GrpcOptions& options) {
  const auto set = [&builder](const char* name, int value) { builder.AddChannelArgument(name, value); };
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, to_int(options.max_streams_per_connection));
  set(GRPC_ARG_MAX_METADATA_SIZE, to_int(options.max_header_list_size));
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, to_milliseconds(options.handshake_timeout));
  set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, to_milliseconds(options.idle_timeout));
  set(GRPC_ARG_KEEPALIVE_TIME_MS, to_milliseconds(options.keepalive_interval));
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, to_milliseconds(options.keepalive_timeout));
  set(GRPC_ARG_MAX_CONNECTION_AGE_MS, to_milliseconds(options.max_connection_age));
  set(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, to_milliseconds(options.max_connection_age_grace));
  // Clients may ping as often as they like: Envoy's keepalive must not be taken for abuse.
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.SetMaxReceiveMessageSize(to_int(options.max_message_size));
  builder.SetMaxSendMessageSize(-1);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
}

}  // namespace

struct GrpcServer::State {
  explicit State(const GrpcOptions& options, const Services& services) : context(services) {
    context.max_streams = options.max_streams;
    context.metrics = options.metrics;
  }

  CallContext context;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  std::shared_ptr<grpc::ServerCredentials> tls;  // null: plain text
  std::unique_ptr<grpc::Server> server;
  std::vector<std::thread> threads;
  std::vector<std::string> addresses;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> plain_connections;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> tls_connections;  // null without TLS
  std::unique_ptr<Acceptor> acceptor;
  bool drained = false;

  static void serve(grpc::CompletionQueue& queue) {
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) static_cast<Step*>(tag)->run(ok);
  }
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::start(const GrpcOptions& options,
                                                              const Services& services) {
  // Debian's abseil looks for lock cycles at every lock, which costs gRPC 10 to 40 percent.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  quiet_grpc();
  // Never given back: when the last user of the library leaves, gRPC waits for a thread of its own that may
  // sleep for 10 s.
  static const bool kept = (grpc_init(), true);
  static_cast<void>(kept);

  auto state = std::make_unique<State>(options, services);
  auto listeners = Listener::open_all(options.listen);
  if (!listeners.ok()) return listeners.status();
  for (const Listener& listener : *listeners) state->addresses.push_back(listener.address().to_string());
  grpc::ServerBuilder builder;
  const auto from_us = grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD;
  state->plain_connections =
      builder.experimental().AddExternalConnectionAcceptor(from_us, grpc::InsecureServerCredentials());
  if (options.tls) {
    state->tls = tls_server_credentials(options.tls);
    state->tls_connections = builder.experimental().AddExternalConnectionAcceptor(from_us, state->tls);
  }
  set_arguments(builder, options);
  builder.RegisterService(&state->context.process);
  builder.RegisterAsyncGenericService(&state->context.generic);
  const uint32_t threads =
      options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  for (uint32_t i = 0; i < threads; ++i) state->queues.push_back(builder.AddCompletionQueue());

  state->server = builder.BuildAndStart();
  if (!state->server) {
    for (auto& queue : state->queues) {
      queue->Shutdown();
      State::serve(*queue);
    }
    return absl::InternalError("gRPC could not start");
  }
  for (auto& queue : state->queues) {
    for (int i = 0; i < kAwaitedProcessCalls; ++i) Call::await(state->context, *queue, Call::Kind::kProcess);
    for (int i = 0; i < kAwaitedOtherCalls; ++i) Call::await(state->context, *queue, Call::Kind::kOther);
    state->threads.emplace_back([&queue] { State::serve(*queue); });
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(state)));
  if (absl::Status status = server->accept(*std::move(listeners), options); !status.ok()) return status;
  return server;
}

GrpcServer::GrpcServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::Status GrpcServer::accept(std::vector<Listener> listeners, const GrpcOptions& options) {
  std::set<int> tls_sockets;
  for (const Listener& listener : listeners) {
    if (!options.tls || listener.address().kind == config::Address::Kind::kUnix) continue;
    for (const Descriptor& socket : listener.sockets()) tls_sockets.insert(socket.get());
  }
  const auto hand_over = [state = state_.get(), tls_sockets = std::move(tls_sockets)](int listener,
                                                                                      int connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = listener;
    parameters.fd = connection;
    const auto& acceptor = tls_sockets.contains(listener) ? state->tls_connections : state->plain_connections;
    acceptor->HandleNewConnection(&parameters);
  };
  CallContext& context = state_->context;
  auto acceptor = Acceptor::start(
      std::move(listeners),
      {.connections = options.max_connections,
       .bytes_of_nothing = std::max(kLeastOfNothing, kMessagesOfNothing * options.max_message_size)},
      context.traffic,
      {.accepted = hand_over,
       .refused = [&context] { context.count(telemetry::Limit::kConnections); },
       .cut_off = [&context] { context.count(telemetry::Limit::kUnfinished); }});
  if (!acceptor.ok()) return acceptor.status();
  state_->acceptor = *std::move(acceptor);
  return absl::OkStatus();
}

GrpcServer::~GrpcServer() {
  if (!state_->drained) drain(std::chrono::seconds(0));
}

const std::vector<std::string>& GrpcServer::addresses() const { return state_->addresses; }

Server::Drained GrpcServer::drain(std::chrono::duration<double> deadline) {
  state_->drained = true;
  if (state_->acceptor) state_->acceptor->stop();
  state_->context.stopping = true;
  const std::size_t open = state_->context.open.load();
  CallContext& context = state_->context;
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(deadline);
  context.services.end_long_lived();
  // Blocks until all connections are gone.
  const auto gone = std::async(std::launch::async, [this] { state_->server->Shutdown(); });
  {
    std::unique_lock lock(context.mutex);
    context.all_over.wait_until(lock, end, [&context] { return context.open.load() == 0; });
  }
  gone.wait_until(std::min(end, Clock::now() + kFarewell));
  context.past_deadline = true;  // before the cancels, so that streams learn who it was
  while (gone.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    // Takes effect once Shutdown has begun, hence the loop.
    grpc_server_cancel_all_calls(state_->server->c_server());
    gone.wait_for(std::chrono::milliseconds(50));
  }
  {
    // Cancelled streams still have steps to take, which a queue that is shut down would not let them.
    std::unique_lock lock(context.mutex);
    context.all_over.wait(lock, [&context] { return context.open.load() == 0; });
  }
  for (auto& queue : state_->queues) queue->Shutdown();
  for (auto& thread : state_->threads) thread.join();
  const std::size_t cancelled = context.cancelled.load();
  return {open - std::min(open, cancelled), cancelled};
}

}  // namespace extprocd::transport
