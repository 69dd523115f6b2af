// Every scenario of test/scenarios/envoy, in each of its variants: the model of Envoy talks with the engine in process, and
// the conversation is had again over both transports, which must answer the same.

#include <set>
#include <string>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <toml++/toml.h>

#include "test/conformance/envoy_case.h"
#include "test/conformance/envoy_conversation.h"
#include "test/conformance/peer.h"
#include "test/support/loaded_generation.h"

namespace extprocd::conformance {
namespace {

using envoy::service::ext_proc::v3::ProcessingResponse;
using testing::ContainsRegex;
using testing::Not;

constexpr Schedule kSchedules[] = {Schedule::kLockstep, Schedule::kEager};

std::vector<Case> cases() {
  std::vector<Case> all = load_cases(TEST_SCENARIOS);
  std::erase_if(all, [](const Case& one) { return one.not_producible.contains("in process"); });
  return all;
}

config::Config config_of(const Case& a_case) {
  config::LoadResult loaded = config::load_text(a_case.config, a_case.id);
  for (const auto& error : loaded.errors) ADD_FAILURE() << error.to_string() << "\n" << a_case.config;
  loaded.config.plugins.directory = TEST_MODULES;
  return loaded.config;
}

class EnvoyConformance : public testing::TestWithParam<Case> {
 protected:
  EnvoyConformance() : loaded_(config_of(GetParam())) {}

  Conversation converse_in_process(Schedule schedule) {
    engine::ProcessService service(loaded_.generation());
    return converse(GetParam(), schedule, service);
  }

  void play_over(config::Transport transport) {
    ASSERT_NE(loaded_.generation(), nullptr);
    const test::ServedGeneration served(loaded_, transport);
    for (const Schedule schedule : kSchedules) {
      const Conversation conversation = converse_in_process(schedule);
      test::GrpcPeer peer(served.address());
      replay(conversation, peer);
    }
  }

  static void replay(const Conversation& conversation, test::GrpcPeer& peer) {
    for (const auto& turn : conversation.turns) {
      peer.send(turn.message);
      for (const std::string& expected : turn.replies) {
        const auto reply = peer.read();
        ASSERT_TRUE(reply) << "a reply is missing\n" << conversation.transcript();
        expect_same(expected, *reply);
      }
    }
    if (conversation.cancelled && !conversation.ended) {
      peer.cancel();
      return;
    }
    std::vector<std::string> rest;
    const test::End end = peer.finish(rest);
    EXPECT_TRUE(rest.empty()) << rest.size() << " replies too many\n" << conversation.transcript();
    EXPECT_EQ(end.code, conversation.end.code()) << end.message;
    EXPECT_EQ(end.message, conversation.end.message());
  }

  static void expect_same(const std::string& expected_bytes, const std::string& bytes) {
    ProcessingResponse expected;
    ProcessingResponse got;
    ASSERT_TRUE(expected.ParseFromString(expected_bytes));
    ASSERT_TRUE(got.ParseFromString(bytes));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(expected, got))
        << "expected " << expected.ShortDebugString() << "\n     got " << got.ShortDebugString();
  }

  test::LoadedGeneration loaded_;
};

TEST_P(EnvoyConformance, in_process) {
  ASSERT_NE(loaded_.generation(), nullptr);
  bool all_fine = true;
  for (const Schedule schedule : kSchedules) {
    const Conversation conversation = converse_in_process(schedule);
    all_fine = all_fine && conversation.wrong.empty();
    // The stream is gone, and with it whatever plugins held back.
    EXPECT_THAT(loaded_.registry().text(),
                Not(ContainsRegex("\nextproc_(plugin_)?held_bytes([{][^}]*[}])? [^0]")))
        << GetParam().id;
    if (!GetParam().fault.empty()) continue;
    for (const std::string& wrong : conversation.wrong) {
      ADD_FAILURE() << GetParam().place << ": " << GetParam().id
                    << (schedule == Schedule::kEager ? " (eager)" : "") << ": " << wrong << "\n"
                    << conversation.transcript();
    }
  }
  EXPECT_TRUE(GetParam().fault.empty() || !all_fine)
      << GetParam().place << " is no longer wrong: take its `fault` out";
}

TEST_P(EnvoyConformance, over_grpc) { play_over(config::Transport::kGrpc); }

TEST_P(EnvoyConformance, over_the_native_transport) { play_over(config::Transport::kNative); }

TEST(EnvoyNames, none_is_forgotten) {
  const toml::table file = toml::parse_file(TEST_NAMES);
  std::set<std::string> open;
  for (const toml::node& item : *file["item"].as_array()) {
    for (const toml::node& name : *(*item.as_table())["names"].as_array()) {
      EXPECT_TRUE(open.insert(name.value<std::string>().value()).second)
          << "twice: " << name.value<std::string>().value();
    }
  }
  std::set<std::string> known = open;
  for (const Case& one : load_cases(TEST_SCENARIOS)) {
    EXPECT_TRUE(known.contains(one.name)) << one.place << ": " << one.name << " is not in the list of names";
    open.erase(one.name);
  }
  for (const toml::node& item : *file["item"].as_array()) {
    const toml::table* left_out = (*item.as_table())["left_out"].as_table();
    if (left_out == nullptr) continue;
    for (const auto& [name, why] : *left_out) {
      EXPECT_FALSE(why.value_or(std::string()).empty()) << name.str() << " is left out without a reason";
      EXPECT_EQ(open.erase(std::string(name.str())), 1U)
          << name.str() << " is left out, but there is a scenario or no such name";
    }
  }
  for (const std::string& name : open)
    ADD_FAILURE() << name << " has neither a scenario nor a reason to be left out";
}

INSTANTIATE_TEST_SUITE_P(Scenarios, EnvoyConformance, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& one) { return one.param.test_name(); });

}  // namespace
}  // namespace extprocd::conformance
