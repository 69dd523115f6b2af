// Runs every scenario of test/scenarios in process and over gRPC: both must answer the same.

#include <deque>
#include <memory>
#include <string>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "core/server/transport.h"
#include "core/telemetry/registry.h"
#include "test/conformance/scenario.h"
#include "test/support/loaded_generation.h"

namespace extprocd::test {
namespace {

using envoy::service::ext_proc::v3::ProcessingResponse;

struct End {
  absl::StatusCode code;
  std::string message;
};

/// A conversation with the server under test.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void send(const std::string& message) = 0;
  /// The next reply; nothing if the stream has ended instead.
  virtual std::optional<std::string> read() = 0;
  /// Sends no more, and reads to the end; what comes before it goes to `rest`.
  virtual End finish(std::vector<std::string>& rest) = 0;
  /// Whether replies that should not be there can be seen before the end.
  [[nodiscard]] virtual bool sees_all_at_once() const = 0;
};

class InProcessPeer final : public Peer, private engine::Sink {
 public:
  explicit InProcessPeer(engine::ProcessService& service)
      : stream_(service.open(*this, {.peer = "in process"})) {}

  void send(const std::string& message) override { stream_->receive(engine::Message::copy(message)); }
  std::optional<std::string> read() override {
    if (replies_.empty()) return std::nullopt;
    std::string reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
  }
  End finish(std::vector<std::string>& rest) override {
    if (!end_) stream_->half_closed();
    rest.assign(replies_.begin(), replies_.end());
    return end_.value_or(End{absl::StatusCode::kUnknown, "the stream did not end"});
  }
  [[nodiscard]] bool sees_all_at_once() const override { return true; }

 private:
  void send(const wire::Pieces& message) override { replies_.push_back(message.joined()); }
  void finish(const absl::Status& status) override {
    end_ = End{status.code(), std::string(status.message())};
  }

  std::unique_ptr<engine::ServerStream> stream_;
  std::deque<std::string> replies_;
  std::optional<End> end_;
};

class GrpcPeer final : public Peer {
 public:
  explicit GrpcPeer(const std::string& address)
      : stub_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
        call_(stub_.PrepareCall(&context_, std::string(transport::Services::kProcess), &queue_)) {
    call_->StartCall(nullptr);
    next();
  }

  void send(const std::string& message) override {
    const grpc::Slice slice(message);
    call_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    next();
  }
  std::optional<std::string> read() override {
    grpc::ByteBuffer buffer;
    call_->Read(&buffer, nullptr);
    if (!next()) return std::nullopt;
    grpc::Slice slice;
    EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  End finish(std::vector<std::string>& rest) override {
    call_->WritesDone(nullptr);
    next();
    while (auto reply = read()) rest.push_back(*reply);
    grpc::Status status;
    call_->Finish(&status, nullptr);
    next();
    return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  }
  [[nodiscard]] bool sees_all_at_once() const override { return false; }

 private:
  bool next() {
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

void expect_reply(const std::string& expected_text, const std::string& bytes) {
  ProcessingResponse expected;
  ProcessingResponse got;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(expected_text, &expected)) << expected_text;
  ASSERT_TRUE(got.ParseFromString(bytes));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(expected, got))
      << "expected " << expected.ShortDebugString() << "\n     got " << got.ShortDebugString();
}

void play(const Scenario& scenario, Peer& peer) {
  for (std::size_t i = 0; i < scenario.steps.size(); ++i) {
    SCOPED_TRACE("step " + std::to_string(i + 1));
    peer.send(scenario.steps[i].message);
    for (const std::string& expected : scenario.steps[i].replies) {
      const auto reply = peer.read();
      ASSERT_TRUE(reply) << "no reply, expected " << expected;
      expect_reply(expected, *reply);
    }
    if (peer.sees_all_at_once()) {
      ASSERT_FALSE(peer.read()) << "a reply too many";
    }
  }
  std::vector<std::string> rest;
  const End end = peer.finish(rest);
  EXPECT_TRUE(rest.empty()) << rest.size() << " replies too many";
  EXPECT_EQ(absl::StatusCodeToString(end.code), scenario.status) << end.message;
  EXPECT_NE(end.message.find(scenario.message), std::string::npos) << end.message;
}

class Conformance : public testing::TestWithParam<Scenario> {};

TEST_P(Conformance, in_process) {
  LoadedGeneration loaded(GetParam().config);
  ASSERT_NE(loaded.generation(), nullptr);
  engine::ProcessService service(loaded.generation());
  InProcessPeer peer(service);
  play(GetParam(), peer);
}

void play_over(config::Transport kind, const Scenario& scenario) {
  LoadedGeneration loaded(scenario.config);
  ASSERT_NE(loaded.generation(), nullptr);
  transport::Services services;
  services.add(std::string(transport::Services::kProcess),
               std::make_unique<engine::ProcessService>(loaded.generation()));
  telemetry::Registry registry(2);
  const telemetry::Metrics metrics(registry);
  config::Server config;
  config.listen = {"127.0.0.1:0"};
  config.threads = 1;
  config.transport = kind;
  const auto server = server::start_transport(config, registry, metrics, services);
  ASSERT_TRUE(server.ok()) << server.status();
  GrpcPeer peer((*server)->addresses().at(0));
  play(scenario, peer);
}

TEST_P(Conformance, over_grpc) { play_over(config::Transport::kGrpc, GetParam()); }

TEST_P(Conformance, over_the_native_transport) { play_over(config::Transport::kNative, GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, Conformance, testing::ValuesIn(load_scenarios(TEST_SCENARIOS)),
                         [](const testing::TestParamInfo<Scenario>& scenario) {
                           std::string name = scenario.param.file + "_" + scenario.param.name;
                           for (char& c : name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace extprocd::test
