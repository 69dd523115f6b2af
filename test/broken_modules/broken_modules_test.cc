// Real modules that throw, one for each callback, in a running chain: the policy applies, everybody else goes on.

#include <string>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "test/support/loaded_generation.h"

namespace extprocd::test {
namespace {

using config::FailurePolicy;
using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;

class KeepingSink final : public engine::Sink {
 public:
  void send(const wire::Pieces& message) override {
    ASSERT_FALSE(status) << "a message after the end";
    ASSERT_TRUE(replies.emplace_back().ParseFromString(message.joined()));
  }
  void finish(const absl::Status& end) override {
    ASSERT_FALSE(status) << "two ends";
    status = end;
  }
  std::vector<ProcessingResponse> replies;
  std::optional<absl::Status> status;
};

/// The six messages of a whole exchange, in the order in which Envoy sends them (STREAMED bodies, trailers sent).
std::vector<ProcessingRequest> whole_exchange() {
  std::vector<ProcessingRequest> messages(6);
  messages[0].mutable_request_headers();
  messages[0].mutable_protocol_config()->set_request_body_mode(
      envoy::extensions::filters::http::ext_proc::v3::ProcessingMode::STREAMED);
  messages[0].mutable_protocol_config()->set_response_body_mode(
      envoy::extensions::filters::http::ext_proc::v3::ProcessingMode::STREAMED);
  messages[1].mutable_request_body();
  messages[2].mutable_request_trailers();
  messages[3].mutable_response_headers();
  messages[4].mutable_response_body();
  messages[5].mutable_response_trailers();
  return messages;
}

config::Config with_module(const std::string& module, FailurePolicy policy) {
  config::Config config;
  config.plugins.directory = TEST_MODULES;
  config.data_plane.early_end = false;  // all six messages are answered
  for (const auto& [name, file] :
       {std::pair<std::string, std::string>("good", "good.so"), {"throwing", module}}) {
    config::Plugin entry;
    entry.name = name;
    entry.module = file;
    entry.on_error = policy;
    config.plugin.push_back(entry);
  }
  return config;
}

struct Case {
  const char* place;
  std::size_t message;  ///< of whole_exchange() at which it throws
};

class BrokenModuleTest : public testing::TestWithParam<std::tuple<Case, FailurePolicy>> {
 protected:
  void SetUp() override {
    const auto& [which, policy] = GetParam();
    place_ = which.place;
    loaded_.emplace(with_module("throwing_in_" + place_ + ".so", policy));
    ASSERT_TRUE(loaded_->generation());
    service_.emplace(loaded_->generation());
  }

  /// Sends messages until the stream has ended; how many were taken.
  std::size_t run(KeepingSink& sink) {
    auto stream = service_->open(sink, {});
    std::size_t sent = 0;
    for (const auto& message : whole_exchange()) {
      if (sink.status) break;
      stream->receive(engine::Message::copy(message.SerializeAsString()));
      ++sent;
    }
    if (!sink.status) stream->half_closed();
    return sent;
  }

  std::string place_;
  std::optional<LoadedGeneration> loaded_;
  std::optional<engine::ProcessService> service_;
};

TEST_P(BrokenModuleTest, its_stream_follows_the_policy_and_the_next_one_is_no_worse) {
  const auto& [which, policy] = GetParam();
  for (int round = 0; round < 2; ++round) {
    KeepingSink sink;
    const std::size_t sent = run(sink);
    ASSERT_TRUE(sink.status);
    if (place_ == "stream_end" || place_ == "local_reply" || policy == FailurePolicy::kSkip) {
      EXPECT_TRUE(sink.status->ok()) << *sink.status;
      ASSERT_EQ(sink.replies.size(), 6U);
      EXPECT_TRUE(sink.replies[5].has_response_trailers());
    } else if (policy == FailurePolicy::kFail || which.message > 3) {
      // After the response's headers no immediate response can go out: deny acts as fail.
      EXPECT_EQ(sent, which.message + 1);
      EXPECT_EQ(sink.replies.size(), which.message);
      EXPECT_EQ(sink.status->code(), absl::StatusCode::kUnknown);
      EXPECT_EQ(sink.status->message(), "exception: thrown in " + place_);
    } else {
      ASSERT_EQ(sink.replies.size(), which.message + 1);
      EXPECT_EQ(sink.replies.back().immediate_response().status().code(), 500);
      EXPECT_TRUE(sink.status->ok());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Callbacks, BrokenModuleTest,
    testing::Combine(testing::Values(Case{"stream_begin", 0}, Case{"request_headers", 0},
                                     Case{"request_body", 1}, Case{"request_trailers", 2},
                                     Case{"response_headers", 3}, Case{"response_body", 4},
                                     Case{"response_trailers", 5}, Case{"local_reply", 9},
                                     Case{"stream_end", 9}),
                     testing::Values(FailurePolicy::kFail, FailurePolicy::kDeny, FailurePolicy::kSkip)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param).place) + "_" +
             std::string(config::to_string(std::get<1>(test.param)));
    });

TEST(BrokenModuleTest, one_that_throws_in_local_reply_does_not_lose_the_reply) {
  config::Config config = with_module("throwing_in_local_reply.so", FailurePolicy::kDeny);
  config.plugin[0].module = "throwing_in_response_headers.so";
  LoadedGeneration loaded(config);
  engine::ProcessService service(loaded.generation());
  KeepingSink sink;
  auto stream = service.open(sink, {});
  const auto messages = whole_exchange();
  stream->receive(engine::Message::copy(messages[0].SerializeAsString()));
  stream->receive(engine::Message::copy(messages[3].SerializeAsString()));
  ASSERT_EQ(sink.replies.size(), 2U);
  EXPECT_EQ(sink.replies[1].immediate_response().status().code(), 500);
}

}  // namespace
}  // namespace extprocd::test
