#include <chrono>
#include <memory>
#include <string>

#include "grpc/health/v1/health.pb.h"
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "core/config/address.h"
#include "core/server/transport.h"
#include "core/telemetry/registry.h"
#include "core/transport/health.h"
#include "core/transport/listen.h"
#include "core/transport/tls_fixture.h"

namespace extprocd::transport {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Against hanging; a server that does what it should is done long before.
constexpr std::chrono::seconds kPatience{30};

class NoStreams final : public engine::StreamFactory {
 public:
  std::unique_ptr<engine::ServerStream> open(engine::Sink&, const engine::StreamFacts&) override {
    return nullptr;
  }
};

/// How long connections may live, and what they may carry, over every transport.
class ConnectionsTest : public TlsFixture, public testing::WithParamInterface<config::Transport> {
 protected:
  void start(config::Server config) {
    services_.add(std::string(Services::kProcess), std::make_unique<NoStreams>());
    add_health_service(services_, health_);
    health_.set_serving(true);
    config.transport = GetParam();
    config.threads = 1;
    config.listen = {"127.0.0.1:0"};
    auto started = server::start_transport(config, registry_, metrics_, services_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = grpc::CreateChannel(server_->addresses().at(0), grpc::InsecureChannelCredentials());
  }

  grpc::Status check_health(const std::string& metadata = "x") {
    grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub(channel_);
    grpc::ClientContext context;
    context.AddMetadata("x-large", metadata);
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    const HealthCheckRequest request;
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
    call->StartCall();
    HealthCheckResponse response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  }
  /// Connects, and waits until the server sends the connection away.
  bool is_sent_away() {
    if (!check_health().ok()) return false;
    return channel_->WaitForStateChange(GRPC_CHANNEL_READY, std::chrono::system_clock::now() + kPatience);
  }
  /// Connects, sends these bytes and nothing more, and waits for the end.
  bool is_closed_after(const std::string& bytes) {
    const auto address = config::parse_address(server_->addresses().at(0));
    const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience = {kPatience.count(), 0};
    setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(address->port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) return false;
    if (send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return false;
    char byte = 0;
    ssize_t size = 1;
    while (size > 0) size = recv(socket.get(), &byte, 1, 0);
    return size == 0 || errno == ECONNRESET;
  }

  telemetry::Registry registry_{4};
  telemetry::Metrics metrics_{registry_};
  HealthState health_;
  Services services_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_P(ConnectionsTest, one_that_says_nothing_is_closed) {
  config::Server config;
  config.limits.handshake_timeout = 0.2;
  start(config);
  EXPECT_TRUE(is_closed_after(""));
}

TEST_P(ConnectionsTest, one_that_does_not_finish_its_tls_handshake_is_closed) {
  config::Server config;
  config.limits.handshake_timeout = 0.2;
  config.tls = tls_;
  start(config);
  EXPECT_TRUE(is_closed_after("\x16\x03\x01"));
}

TEST_P(ConnectionsTest, one_without_streams_is_sent_away_where_that_is_wanted) {
  config::Server config;
  config.limits.idle_timeout = 0.2;
  start(config);
  EXPECT_TRUE(is_sent_away());
}

TEST_P(ConnectionsTest, one_that_is_too_old_is_sent_away_where_that_is_wanted) {
  config::Server config;
  config.keepalive.max_connection_age = 0.2;
  start(config);
  EXPECT_TRUE(is_sent_away());
}

TEST_P(ConnectionsTest, one_that_answers_no_ping_is_closed) {
  config::Server config;
  config.keepalive.interval = 0.2;
  config.keepalive.timeout = 0.2;
  start(config);
  constexpr char kPrefaceAndSettings[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
  EXPECT_TRUE(is_closed_after(std::string(kPrefaceAndSettings, sizeof kPrefaceAndSettings - 1)));
}

TEST_P(ConnectionsTest, metadata_passes_up_to_the_limit) {
  config::Server config;
  config.limits.max_header_list_size = 32 << 10;
  start(config);
  const grpc::Status below = check_health(std::string(20 << 10, 'x'));
  EXPECT_TRUE(below.ok()) << below.error_message();
  EXPECT_EQ(check_health(std::string(40 << 10, 'x')).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

INSTANTIATE_TEST_SUITE_P(Transports, ConnectionsTest,
                         testing::Values(config::Transport::kGrpc, config::Transport::kNative),
                         [](const auto& one) { return std::string(config::to_string(one.param)); });

}  // namespace
}  // namespace extprocd::transport
