#include <chrono>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "core/server/transport.h"
#include "core/telemetry/registry.h"
#include "core/transport/grpc/probe.h"
#include "core/transport/health.h"
#include "core/transport/tls_fixture.h"

namespace extprocd::transport {
namespace {

using envoy::service::ext_proc::v3::ExternalProcessor;
using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;
using testing::AnyOf;
using testing::HasSubstr;

/// Sends every message back as the body of an immediate response.
class Echo final : public engine::ServerStream {
 public:
  explicit Echo(engine::Sink& sink) : sink_(sink) {}
  void receive(engine::Message message) override {
    ProcessingRequest request;
    request.ParseFromArray(message.bytes().data(), static_cast<int>(message.bytes().size()));
    ProcessingResponse response;
    response.mutable_immediate_response()->set_body(request.request_body().body());
    sink_.send(response.SerializeAsString());
  }
  void half_closed() override { sink_.finish(absl::OkStatus()); }
  void cancelled(engine::Cancel) override {}

 private:
  engine::Sink& sink_;
};

class EchoFactory final : public engine::StreamFactory {
 public:
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<Echo>(sink);
  }
};

/// What holds for every transport under [server.tls].
class TlsTransportTest : public TlsFixture, public testing::WithParamInterface<config::Transport> {
 protected:
  void start() {
    services_.add(std::string(Services::kProcess), std::make_unique<EchoFactory>());
    add_health_service(services_, health_);
    health_.set_serving(true);
    config_.server.transport = GetParam();
    config_.server.threads = 2;
    config_.server.listen = {"127.0.0.1:0", "unix:" + (folder_ / "socket").string()};
    config_.server.tls = tls_;
    auto started = server::start_transport(config_.server, registry_, metrics_, services_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    address_ = server_->addresses().at(0);
  }

  struct Client {
    std::string trusted = {};
    TestCertificate certificate = {};
  };
  std::shared_ptr<grpc::Channel> connect(const Client& client) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetSslTargetNameOverride("localhost");
    return grpc::CreateCustomChannel(
        address_,
        grpc::SslCredentials({client.trusted, client.certificate.key, client.certificate.certificate}),
        arguments);
  }
  /// A stream with one message over a new connection.
  grpc::Status call(const Client& client, const std::string& text = "x") {
    return call(connect(client), text);
  }
  static grpc::Status call(const std::shared_ptr<grpc::Channel>& channel, const std::string& text = "x") {
    const auto stub = ExternalProcessor::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const auto stream = stub->Process(&context);
    ProcessingRequest request;
    request.mutable_request_body()->set_body(text);
    ProcessingResponse response;
    if (stream->Write(request) && stream->Read(&response)) {
      EXPECT_EQ(response.immediate_response().body(), text);
    }
    stream->WritesDone();
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }
  /// Asks until the server shows another certificate, or half a minute is over.
  bool call_until_it_fails(const Client& client) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (call(client).ok()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return true;
  }

  telemetry::Registry registry_{4};
  telemetry::Metrics metrics_{registry_};
  HealthState health_;
  Services services_;
  config::Config config_;
  std::unique_ptr<Server> server_;
  std::string address_;
};

TEST_P(TlsTransportTest, clients_that_trust_the_ca_are_served) {
  start();
  const grpc::Status status = call({.trusted = authority_.certificate()});
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_P(TlsTransportTest, a_certificate_chain_and_its_key_may_be_one_file) {
  const TestAuthority between = authority_.sign_authority("between");
  const TestCertificate server = between.sign();
  write(tls_.certificate, server.key + server.certificate + between.certificate());
  tls_.key = tls_.certificate;
  start();
  const grpc::Status status = call({.trusted = authority_.certificate()});
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_P(TlsTransportTest, large_messages_pass_in_both_directions) {
  start();
  const auto channel = connect({.trusted = authority_.certificate()});
  for (int i = 0; i < 4; ++i) {
    const grpc::Status status = call(channel, std::string(20 << 20, 'x'));
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_P(TlsTransportTest, a_connection_that_sends_much_in_whole_messages_is_not_cut_off) {
  config_.server.limits.max_message_size = 2 << 20;
  start();
  const auto channel = connect({.trusted = authority_.certificate()});
  // Together far more than may come without a message; the guard looks ten times a second.
  for (int i = 0; i < 60; ++i) {
    const grpc::Status status = call(channel, std::string(1 << 20, 'x'));
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kUnfinished)]->value(), 0U);
}

TEST_P(TlsTransportTest, clients_that_do_not_trust_the_ca_get_nothing) {
  start();
  EXPECT_EQ(call({.trusted = clients_.certificate()}).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_P(TlsTransportTest, clients_in_plain_text_get_nothing) {
  start();
  EXPECT_FALSE(probe(address_).ok());
}

TEST_P(TlsTransportTest, unix_sockets_stay_in_plain_text) {
  start();
  EXPECT_TRUE(probe(server_->addresses().at(1)).ok());
  EXPECT_FALSE(probe(server_->addresses().at(1), ProbeTls{}).ok());
}

TEST_P(TlsTransportTest, mutual_tls_lets_only_clients_of_the_ca_in) {
  require_client_certificates();
  start();
  const std::string trusted = authority_.certificate();
  const grpc::Status good = call({.trusted = trusted, .certificate = clients_.sign({.name = "envoy"})});
  EXPECT_TRUE(good.ok()) << good.error_message();
  EXPECT_EQ(call({.trusted = trusted}).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(call({.trusted = trusted, .certificate = authority_.sign()}).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_P(TlsTransportTest, a_client_ca_below_a_root_may_stand_alone) {
  const TestAuthority between = clients_.sign_authority("between");
  require_client_certificates();
  write(tls_.client_ca, between.certificate());
  start();
  const grpc::Status status = call({.trusted = authority_.certificate(), .certificate = between.sign()});
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_P(TlsTransportTest, renewed_certificates_are_shown_to_new_connections_and_old_ones_stay) {
  start();
  const Client client = {.trusted = authority_.certificate()};
  const auto channel = connect(client);
  EXPECT_TRUE(call(channel).ok());
  const TestAuthority next("next server CA");
  write(next.sign());
  EXPECT_TRUE(call_until_it_fails(client));
  EXPECT_TRUE(call({.trusted = next.certificate()}).ok());
  EXPECT_TRUE(call(channel).ok());
}

TEST_P(TlsTransportTest, a_renewed_client_ca_holds_for_new_connections) {
  require_client_certificates();
  start();
  const Client before = {.trusted = authority_.certificate(), .certificate = clients_.sign()};
  EXPECT_TRUE(call(before).ok());
  const TestAuthority next("next client CA");
  write(tls_.client_ca, next.certificate());
  EXPECT_TRUE(call_until_it_fails(before));
  EXPECT_TRUE(call({.trusted = authority_.certificate(), .certificate = next.sign()}).ok());
}

TEST_P(TlsTransportTest, probes_need_no_ca_but_a_certificate_where_one_is_required) {
  start();
  EXPECT_TRUE(probe(address_, ProbeTls{}).ok());
}

TEST_P(TlsTransportTest, probes_show_a_certificate_where_one_is_required) {
  require_client_certificates();
  start();
  EXPECT_FALSE(probe(address_, ProbeTls{}).ok());
  const TestCertificate own = clients_.sign();
  const std::string certificate = folder_ / "probe.pem";
  const std::string key = folder_ / "probe.key";
  write(certificate, own.certificate);
  write(key, own.key);
  const absl::Status status = probe(address_, ProbeTls{certificate, key});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(std::string(probe(address_, ProbeTls{"/none", key}).message()),
              HasSubstr("/none: cannot be read"));
  EXPECT_THAT(std::string(probe(address_, ProbeTls{certificate, certificate}).message()),
              HasSubstr("holds no private key"));
}

INSTANTIATE_TEST_SUITE_P(Transports, TlsTransportTest,
                         testing::Values(config::Transport::kGrpc, config::Transport::kNative),
                         [](const auto& one) { return std::string(config::to_string(one.param)); });

TEST_F(TlsFixture, what_is_wrong_with_the_files_is_said_at_the_place_of_the_table) {
  telemetry::Registry registry(1);
  config::Config config;
  config.file = "f.toml";
  config.server.tls = tls_;
  config.server.tls->position = {7, 1};
  EXPECT_TRUE(server::check_tls(config).ok());
  config.server.tls->min_version = config::TlsVersion::k13;
  config.server.transport = config::Transport::kGrpc;
  EXPECT_THAT(std::string(server::check_tls(config).message()),
              HasSubstr("f.toml:7:1: server.tls.min_version must be \"1.2\""));
  const telemetry::Metrics metrics(registry);
  EXPECT_FALSE(server::start_transport(config.server, registry, metrics, Services()).ok());
  config.server.transport = config::Transport::kNative;
  EXPECT_TRUE(server::check_tls(config).ok());
  write(tls_.key, "");
  EXPECT_THAT(std::string(server::check_tls(config).message()), HasSubstr("f.toml:7:1: server.tls.key: "));
  config.server.tls.reset();
  EXPECT_TRUE(server::check_tls(config).ok());
}

}  // namespace
}  // namespace extprocd::transport
