// Runs every scenario of test/scenarios in process and over gRPC: both must answer the same.

#include <memory>
#include <string>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "test/conformance/peer.h"
#include "test/conformance/scenario.h"
#include "test/support/loaded_generation.h"

namespace extprocd::test {
namespace {

using envoy::service::ext_proc::v3::ProcessingResponse;

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
  const ServedGeneration served(loaded, kind);
  GrpcPeer peer(served.address());
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
