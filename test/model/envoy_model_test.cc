// One test for each rule of the model: what may be sent when, which replies are taken, and above all which are not.

#include "test/model/envoy_model.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace extprocd::model {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr auto kRequest = Side::kRequest;
constexpr auto kResponse = Side::kResponse;

ProcessingResponse reply(const std::string& text) {
  ProcessingResponse message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

std::string set(const std::string& name, const std::string& value, const std::string& more = "") {
  return R"(set_headers { header { key: ")" + name + R"(" raw_value: ")" + value + R"(" } append {)" +
         (more.empty() ? "} append_action: OVERWRITE_IF_EXISTS_OR_ADD" : more) + "}";
}
const std::string kAppend = "value: true } append_action: APPEND_IF_EXISTS_OR_ADD";

std::string mutate(const std::string& kind, const std::string& mutation) {
  return kind + " { response { header_mutation { " + mutation + " } } }";
}
std::string body(const std::string& kind, const std::string& mutation) {
  return kind + " { response { body_mutation { " + mutation + " } } }";
}
std::string piece(const std::string& kind, const std::string& streamed) {
  return body(kind, "streamed_response { " + streamed + " }");
}

class EnvoyModelTest : public testing::Test {
 protected:
  EnvoyModelTest() {
    exchange_.request.headers = {{":method", "POST"}, {":path", "/"}, {"host", "a"}, {"content-length", "6"}};
    exchange_.response.headers = {{":status", "200"}};
  }

  EnvoyModel& model() {
    if (!model_) model_ = std::make_unique<EnvoyModel>(settings_, exchange_);
    return *model_;
  }
  SideSettings& request() { return settings_.sides[0]; }
  SideSettings& response() { return settings_.sides[1]; }

  /// Lets the next part come, or the next parts; what is sent because of it, as "request_body 'abc' eos".
  std::vector<std::string> arrive(Side side = kRequest, int times = 1) {
    for (int i = 0; i < times; ++i) {
      EXPECT_TRUE(model().can_arrive(side));
      model().arrive(side);
    }
    return take_sent();
  }
  std::vector<std::string> take_sent() {
    std::vector<std::string> texts;
    for (const auto& message : model().sent()) texts.push_back(text_of(message));
    model().sent().clear();
    return texts;
  }
  static std::string text_of(const ProcessingRequest& message) {
    const auto with_body = [](const std::string& kind, const envoy::service::ext_proc::v3::HttpBody& part) {
      return kind + " '" + part.body() + "'" + (part.end_of_stream() ? " eos" : "") +
             (part.end_of_stream_without_message() ? " without message" : "");
    };
    switch (message.request_case()) {
      case ProcessingRequest::kRequestHeaders:
        return std::string("request_headers") + (message.request_headers().end_of_stream() ? " eos" : "");
      case ProcessingRequest::kResponseHeaders:
        return std::string("response_headers") + (message.response_headers().end_of_stream() ? " eos" : "");
      case ProcessingRequest::kRequestBody:
        return with_body("request_body", message.request_body());
      case ProcessingRequest::kResponseBody:
        return with_body("response_body", message.response_body());
      case ProcessingRequest::kRequestTrailers:
        return "request_trailers";
      case ProcessingRequest::kResponseTrailers:
        return "response_trailers";
      default:
        return "window update";
    }
  }

  Verdict judge(const std::string& text) {
    const Judgement judgement = model().judge(reply(text));
    ignored_ = judgement.ignored;
    return judgement.verdict;
  }
  void accept(const std::string& text) {
    const Judgement judgement = model().judge(reply(text));
    EXPECT_TRUE(judgement.wholly_accepted()) << text << ": " << judgement.describe();
  }
  /// Accepted, but part of it has no effect.
  void ignored(const std::string& text) {
    EXPECT_EQ(judge(text), Verdict::kAccepted) << text;
    EXPECT_FALSE(ignored_.empty()) << text;
  }
  void refuse(Verdict verdict, const std::string& text) {
    const Judgement judgement = model().judge(reply(text));
    EXPECT_EQ(judgement.verdict, verdict) << text << ": " << judgement.describe();
  }
  std::string upstream_header(const std::string& name) {
    return first_value(*model().passed(kRequest).headers, name).value_or("(none)");
  }

  FilterSettings settings_;
  HttpExchange exchange_;
  std::unique_ptr<EnvoyModel> model_;
  std::vector<std::string> ignored_;
};

// What is sent, and when.

TEST_F(EnvoyModelTest, the_first_message_alone_carries_the_modes_and_each_direction_its_attributes_once) {
  request() = {.send_headers = false, .body = ProcessingMode::STREAMED};
  exchange_.request.chunks = {"a", "b"};
  model().arrive(kRequest);
  EXPECT_THAT(take_sent(), IsEmpty());
  model().arrive(kRequest);
  model().arrive(kRequest);
  ASSERT_EQ(model().sent().size(), 2U);
  EXPECT_EQ(model().sent()[0].protocol_config().request_body_mode(), ProcessingMode::STREAMED);
  EXPECT_EQ(model().sent()[0].attributes().size(), 1U);
  EXPECT_FALSE(model().sent()[1].has_protocol_config());
  EXPECT_EQ(model().sent()[1].attributes().size(), 0U);
}

TEST_F(EnvoyModelTest, an_old_data_plane_does_not_say_its_modes) {
  settings_.sends_protocol_config = false;
  model().arrive(kRequest);
  EXPECT_FALSE(model().sent()[0].has_protocol_config());
}

TEST_F(EnvoyModelTest, headers_are_held_until_their_reply_and_the_response_waits_for_the_upstream) {
  EXPECT_THAT(arrive(), ElementsAre("request_headers eos"));
  EXPECT_FALSE(model().passed(kRequest).headers);
  EXPECT_FALSE(model().can_arrive(kResponse));
  accept("request_headers {}");
  EXPECT_TRUE(model().passed(kRequest).ended);
  EXPECT_TRUE(model().can_arrive(kResponse));
}

TEST_F(EnvoyModelTest, a_local_reply_comes_without_the_request_having_gone_on) {
  exchange_.local_reply = true;
  arrive();
  EXPECT_THAT(arrive(kResponse), ElementsAre("response_headers eos"));
  EXPECT_FALSE(model().can_arrive(kRequest));
}

TEST_F(EnvoyModelTest, a_drain_means_nothing_to_envoy) {
  arrive();
  ignored("request_headers {} request_drain: true");
  EXPECT_FALSE(model().half_closes());
}

TEST_F(EnvoyModelTest, an_upgrade_has_no_response_body_before_its_headers_went_on) {
  exchange_.upgrade = true;
  response().body = ProcessingMode::FULL_DUPLEX_STREAMED;
  exchange_.response.chunks = {"a"};
  arrive();
  accept("request_headers {}");
  arrive(kResponse);
  EXPECT_FALSE(model().can_arrive(kResponse));
  accept("response_headers {}");
  EXPECT_TRUE(model().can_arrive(kResponse));
}

TEST_F(EnvoyModelTest, full_duplex_headers_that_wait_for_a_body_are_not_owed_once_the_request_is_given_up) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a"};
  exchange_.local_reply = true;
  arrive();
  EXPECT_THAT(model().owed(), ElementsAre("request headers"));
  arrive(kResponse);
  accept("response_headers {}");
  EXPECT_THAT(model().owed(), IsEmpty());
}

TEST_F(EnvoyModelTest, an_upgrade_has_no_request_body_before_the_response) {
  exchange_.upgrade = true;
  exchange_.request.chunks = {"a"};
  EXPECT_THAT(arrive(), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_FALSE(model().can_arrive(kRequest));
  arrive(kResponse);
  accept("response_headers {}");
  EXPECT_TRUE(model().can_arrive(kRequest));
}

TEST_F(EnvoyModelTest, a_buffered_body_is_sent_whole_and_only_after_the_headers_reply) {
  request().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {"abc", "def"};
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_FALSE(model().passed(kRequest).headers);
  EXPECT_THAT(arrive(), ElementsAre("request_body 'abcdef' eos"));
  accept("request_body {}");
  EXPECT_EQ(model().passed(kRequest).body, "abcdef");
  EXPECT_TRUE(model().passed(kRequest).ended);
}

TEST_F(EnvoyModelTest, a_buffered_body_that_is_in_before_the_headers_reply_follows_that_reply) {
  request().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {"abc"};
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_body 'abc' eos"));
}

TEST_F(EnvoyModelTest, with_trailers_a_buffered_body_has_no_end_of_stream) {
  request() = {.body = ProcessingMode::BUFFERED, .send_trailers = true};
  exchange_.request.chunks = {"abc"};
  exchange_.request.trailers = Headers{{"t", "1"}};
  arrive(kRequest, 2);
  accept("request_headers {}");
  EXPECT_THAT(take_sent(), IsEmpty());
  EXPECT_THAT(arrive(), ElementsAre("request_body 'abc'"));
  accept("request_body {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_trailers"));
  EXPECT_FALSE(model().passed(kRequest).ended);
  accept("request_trailers {}");
  EXPECT_EQ(model().passed(kRequest).trailers, (Headers{{"t", "1"}}));
}

TEST_F(EnvoyModelTest, trailers_that_are_skipped_pass_and_still_take_the_bodys_end_of_stream) {
  request().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {"abc"};
  exchange_.request.trailers = Headers{{"t", "1"}};
  arrive();
  accept("request_headers {}");
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_body 'abc'"));
  accept("request_body {}");
  EXPECT_THAT(take_sent(), IsEmpty());
  EXPECT_TRUE(model().passed(kRequest).trailers);
}

TEST_F(EnvoyModelTest, trailers_without_a_body_follow_the_headers_reply) {
  request() = {.body = ProcessingMode::BUFFERED, .send_trailers = true};
  exchange_.request.trailers = Headers{};
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_trailers"));
}

TEST_F(EnvoyModelTest, streamed_chunks_wait_for_the_headers_reply_but_not_for_each_other) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b", "c"};
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_body 'a'"));
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_body 'b'", "request_body 'c' eos"));
  EXPECT_EQ(model().passed(kRequest).body, "");
  accept("request_body {}");
  EXPECT_EQ(model().passed(kRequest).body, "a");
  EXPECT_EQ(model().owed().size(), 2U);
}

TEST_F(EnvoyModelTest, a_streamed_body_that_is_in_before_the_headers_reply_goes_as_one_message) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b"};
  arrive(kRequest, 3);
  accept("request_headers {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_body 'ab' eos"));
  accept(mutate("request_body", set("x", "1")));
  EXPECT_EQ(upstream_header("x"), "1");
}

TEST_F(EnvoyModelTest, trailers_wait_for_every_chunk_reply) {
  request() = {.body = ProcessingMode::STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a", "b"};
  exchange_.request.trailers = Headers{};
  arrive();
  accept("request_headers {}");
  EXPECT_THAT(arrive(kRequest, 3), ElementsAre("request_body 'a'", "request_body 'b'"));
  accept("request_body {}");
  EXPECT_THAT(take_sent(), IsEmpty());
  accept("request_body {}");
  EXPECT_THAT(take_sent(), ElementsAre("request_trailers"));
}

TEST_F(EnvoyModelTest, without_waiting_chunks_come_before_the_headers_reply_which_is_still_owed_first) {
  settings_.send_body_without_waiting_for_header_response = true;
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b"};
  EXPECT_THAT(arrive(kRequest, 3),
              ElementsAre("request_headers", "request_body 'a'", "request_body 'b' eos"));
  refuse(Verdict::kSpurious, "request_body {}");
  accept("request_headers {}");
  accept("request_body {}");
  accept("request_body {}");
  EXPECT_TRUE(model().passed(kRequest).ended);
}

TEST_F(EnvoyModelTest, a_partial_body_is_cut_at_the_limit_and_the_rest_passes_unseen) {
  settings_.buffer_limit = 4;
  request().body = ProcessingMode::BUFFERED_PARTIAL;
  exchange_.request.chunks = {"abc", "def", "ghi"};
  arrive();
  accept("request_headers {}");
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_body 'abcdef'"));
  EXPECT_THAT(arrive(), IsEmpty());
  accept(body("request_body", R"(body: "X")"));
  EXPECT_EQ(model().passed(kRequest).body, "Xghi");
  EXPECT_TRUE(model().passed(kRequest).ended);
}

TEST_F(EnvoyModelTest, a_small_partial_body_is_whole_and_headers_can_still_change) {
  request().body = ProcessingMode::BUFFERED_PARTIAL;
  exchange_.request.chunks = {"abc"};
  arrive();
  accept("request_headers {}");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'abc' eos"));
  accept(mutate("request_body", set("x", "1")));
  EXPECT_EQ(upstream_header("x"), "1");
}

TEST_F(EnvoyModelTest, full_duplex_holds_nothing_back_and_keeps_nothing) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a", "b"};
  exchange_.request.trailers = Headers{};
  EXPECT_THAT(arrive(kRequest, 4),
              ElementsAre("request_headers", "request_body 'a'", "request_body 'b'", "request_trailers"));
  accept("request_headers {}");
  accept(piece("request_body", R"(body: "X")"));
  EXPECT_EQ(model().passed(kRequest).body, "X");
  accept("request_trailers {}");
  EXPECT_TRUE(model().passed(kRequest).ended);
}

TEST_F(EnvoyModelTest, mode_none_lets_the_body_pass_behind_the_headers_reply) {
  request().send_trailers = true;
  exchange_.request.chunks = {"a"};
  exchange_.request.trailers = Headers{};
  EXPECT_THAT(arrive(kRequest, 3), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_EQ(model().passed(kRequest).body, "a");
  EXPECT_THAT(take_sent(), ElementsAre("request_trailers"));
}

TEST_F(EnvoyModelTest, an_empty_last_piece_is_sent_like_any_other) {
  request().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {""};
  EXPECT_THAT(arrive(), ElementsAre("request_headers"));
  accept("request_headers {}");
  EXPECT_THAT(arrive(), ElementsAre("request_body '' eos"));
  EXPECT_THAT(model().owed(), ElementsAre("request body"));
}

TEST_F(EnvoyModelTest, names_that_forward_rules_withhold_are_not_sent_but_can_be_removed) {
  settings_.withheld = {"content-length", "host"};
  exchange_.request.headers.emplace_back("secret", "1");
  settings_.withheld.insert("secret");
  model().arrive(kRequest);
  EXPECT_EQ(model().sent()[0].request_headers().headers().headers_size(), 2);
  accept(mutate("request_headers", R"(remove_headers: "secret")"));
  EXPECT_EQ(upstream_header("secret"), "(none)");
}

TEST_F(EnvoyModelTest,
       in_observability_mode_streamed_bodies_are_shown_nothing_waits_and_every_reply_is_unwanted) {
  settings_.observability_mode = true;
  request() = {.body = ProcessingMode::STREAMED, .send_trailers = true};
  response().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {"a"};
  exchange_.request.trailers = Headers{};
  exchange_.response.chunks = {"b"};
  model().arrive(kRequest);
  EXPECT_TRUE(model().sent()[0].observability_mode());
  EXPECT_FALSE(model().sent()[0].has_protocol_config());
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers", "request_body 'a'", "request_trailers"));
  EXPECT_THAT(arrive(kResponse, 2), ElementsAre("response_headers"));
  EXPECT_EQ(model().passed(kResponse).body, "b");
  refuse(Verdict::kUnwanted, "request_headers {}");
  EXPECT_THAT(model().owed(), IsEmpty());
}

// Which replies are refused.

TEST_F(EnvoyModelTest, a_reply_to_nothing_of_the_wrong_kind_or_without_content_is_spurious) {
  refuse(Verdict::kSpurious, "request_headers {}");
  arrive();
  for (const auto* wrong :
       {"", "request_body {}", "request_trailers {}", "response_headers {}", "response_body {}",
        "response_trailers {}", "streamed_immediate_response {}", "dynamic_metadata {}"}) {
    refuse(Verdict::kSpurious, wrong);
  }
  accept("request_headers {}");
  refuse(Verdict::kSpurious, "request_headers {}");
}

TEST_F(EnvoyModelTest, a_local_reply_comes_in_pieces_while_the_request_still_comes) {
  request().body = ProcessingMode::FULL_DUPLEX_STREAMED;
  request().send_trailers = true;
  exchange_.request.chunks = {"a", "b"};
  arrive();
  refuse(Verdict::kSpurious, "streamed_immediate_response { body_response { body: 'x' } }");
  refuse(Verdict::kHeaderMutation, "streamed_immediate_response { headers_response {} }");
  accept(R"(streamed_immediate_response { headers_response { headers {
    headers { key: ":status" raw_value: "201" } headers { key: "a" raw_value: "1" } headers { key: "a" raw_value: "2" } } } })");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'a'"));
  refuse(Verdict::kSpurious,
         "request_body { response { body_mutation { streamed_response { body: 'a' } } } }");
  accept("streamed_immediate_response { body_response { body: 'x' } }");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'b' eos"));
  EXPECT_FALSE(model().owed().empty());
  accept("streamed_immediate_response { body_response { body: 'y' end_of_stream: true } }");
  EXPECT_THAT(model().owed(), IsEmpty());
  EXPECT_TRUE(model().exhausted());
  EXPECT_EQ(model().streamed_reply()->body, "xy");
  EXPECT_EQ(*model().streamed_reply()->headers, (Headers{{":status", "201"}, {"a", "2"}}));
  EXPECT_FALSE(model().passed(kRequest).headers);
  refuse(Verdict::kSpurious, "streamed_immediate_response { body_response {} }");
}

TEST_F(EnvoyModelTest, a_local_reply_in_pieces_answers_request_headers_without_a_held_body) {
  for (const auto mode :
       {ProcessingMode::BUFFERED, ProcessingMode::STREAMED, ProcessingMode::BUFFERED_PARTIAL}) {
    model_.reset();
    request().body = mode;
    exchange_.request.chunks = {"a"};
    arrive();
    refuse(
        Verdict::kSpurious,
        R"(streamed_immediate_response { headers_response { headers { headers { key: ":status" raw_value: "200" } } } })");
  }
}

TEST_F(EnvoyModelTest, one_body_reply_too_many_is_spurious_in_every_mode) {
  for (const auto mode :
       {ProcessingMode::BUFFERED, ProcessingMode::STREAMED, ProcessingMode::BUFFERED_PARTIAL}) {
    model_.reset();
    request().body = mode;
    exchange_.request.chunks = {"abcdef"};
    arrive();
    refuse(Verdict::kSpurious, "request_body {}");
    accept("request_headers {}");
    refuse(Verdict::kSpurious, "request_body {}");
    arrive();
    accept("request_body {}");
    refuse(Verdict::kSpurious, "request_body {}");
  }
}

TEST_F(EnvoyModelTest, a_trailers_reply_before_trailers_or_twice_is_spurious) {
  for (const auto mode :
       {ProcessingMode::NONE, ProcessingMode::STREAMED, ProcessingMode::FULL_DUPLEX_STREAMED}) {
    model_.reset();
    request() = {.body = mode, .send_trailers = true};
    exchange_.request.trailers = Headers{};
    arrive();
    refuse(Verdict::kSpurious, "request_trailers {}");
    accept("request_headers {}");
    refuse(Verdict::kSpurious, "request_trailers {}");
    arrive();
    accept("request_trailers {}");
    refuse(Verdict::kSpurious, "request_trailers {}");
  }
}

TEST_F(EnvoyModelTest, a_full_duplex_trailers_reply_may_not_pass_the_headers_reply) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.trailers = Headers{};
  arrive(kRequest, 2);
  refuse(Verdict::kSpurious, "request_trailers {}");
}

TEST_F(EnvoyModelTest, full_duplex_wants_streamed_response_behind_the_headers_reply_and_before_the_end) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"abcdef"};
  arrive(kRequest, 2);
  refuse(Verdict::kSpurious, piece("request_body", R"(body: "a")"));
  accept("request_headers {}");
  refuse(Verdict::kSpurious, "request_body {}");
  refuse(Verdict::kSpurious, body("request_body", R"(body: "a")"));
  refuse(Verdict::kEndOfStream,
         piece("request_body", "end_of_stream: true end_of_stream_without_message: true"));
  accept(piece("request_body", R"(body: "a")"));
  EXPECT_THAT(model().owed(), ElementsAre("request streamed_response with end_of_stream"));
  accept(piece("request_body", "end_of_stream: true"));
  EXPECT_THAT(model().owed(), IsEmpty());
  refuse(Verdict::kSpurious, piece("request_body", R"(body: "a")"));
}

TEST_F(EnvoyModelTest, in_full_duplex_with_trailers_no_body_reply_may_be_the_end) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a"};
  exchange_.request.trailers = Headers{};
  arrive(kRequest, 3);
  accept("request_headers {}");
  refuse(Verdict::kEndOfStream, piece("request_body", "end_of_stream: true"));
}

TEST_F(EnvoyModelTest, headers_behind_full_duplex_headers_cannot_change_any_more) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a"};
  arrive(kRequest, 2);
  accept("request_headers {}");
  ignored("request_body { response { header_mutation { " + set("x", "1") +
          " } body_mutation { streamed_response { end_of_stream: true } } } }");
}

TEST_F(EnvoyModelTest, streamed_response_in_another_mode_is_spurious_or_without_effect) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a"};
  arrive();
  accept("request_headers {}");
  arrive();
  refuse(Verdict::kSpurious, piece("request_body", R"(body: "a")"));

  model_.reset();
  request().body = ProcessingMode::BUFFERED_PARTIAL;
  arrive();
  accept("request_headers {}");
  arrive();
  ignored(piece("request_body", R"(body: "X")"));
  EXPECT_EQ(model().passed(kRequest).body, "a");

  model_.reset();
  request().body = ProcessingMode::BUFFERED;
  arrive();
  accept("request_headers {}");
  arrive();
  refuse(Verdict::kContentLength, piece("request_body", R"(body: "X")"));
}

TEST_F(EnvoyModelTest, a_reply_behind_an_immediate_response_is_refused) {
  arrive();
  accept("immediate_response { status { code: Forbidden } }");
  EXPECT_TRUE(model().immediate_is_whole());
  refuse(Verdict::kAfterImmediate, "request_headers {}");
  EXPECT_FALSE(model().can_arrive(kResponse));
}

TEST_F(EnvoyModelTest, an_immediate_response_behind_response_headers_is_not_whole) {
  arrive();
  accept("request_headers {}");
  response().body = ProcessingMode::STREAMED;
  arrive(kResponse);
  accept("response_headers {}");
  accept("immediate_response { status { code: Forbidden } }");
  EXPECT_FALSE(model().immediate_is_whole());
}

TEST_F(EnvoyModelTest, a_reply_behind_the_end_is_refused) {
  arrive();
  model().server_ended(true);
  refuse(Verdict::kAfterEnd, "request_headers {}");
}

TEST_F(EnvoyModelTest, a_reply_beside_override_message_timeout_is_lost) {
  arrive();
  refuse(Verdict::kReplyLost, "request_headers {} override_message_timeout { seconds: 1 }");
  accept("override_message_timeout { seconds: 1 }");
  EXPECT_EQ(model().owed().size(), 1U);
}

// Header mutations.

TEST_F(EnvoyModelTest, removals_come_first_and_settings_overwrite_or_append) {
  exchange_.request.headers.emplace_back("a", "1");
  exchange_.request.headers.emplace_back("a", "2");
  exchange_.request.headers.emplace_back("b", "1");
  arrive();
  accept(mutate("request_headers", set("a", "3") + set("b", "2") + set("c", "1", kAppend) +
                                       set("c", "2", kAppend) + R"(remove_headers: "b")"));
  const Headers& headers = *model().passed(kRequest).headers;
  EXPECT_THAT(std::vector(headers.begin() + 4, headers.end()),
              ElementsAre(Pair("a", "3"), Pair("b", "2"), Pair("c", "1"), Pair("c", "2")));
}

TEST_F(EnvoyModelTest, routing_headers_and_those_of_envoy_are_silently_left_as_they_are) {
  for (const auto* name : {"host", ":authority", ":scheme", ":method", "x-envoy-a", ":status"}) {
    model_.reset();
    arrive();
    ignored(mutate("request_headers", set(name, "x")));
  }
  for (const auto* name : {"host", ":path", "x-envoy-a"}) {
    model_.reset();
    arrive();
    ignored(mutate("request_headers", std::string("remove_headers: \"") + name + "\""));
    EXPECT_EQ(upstream_header("host"), "a");
  }
  model_.reset();
  arrive();
  ignored(mutate("request_headers", set(":path", "/b", kAppend)));
  model_.reset();
  arrive();
  accept(mutate("request_headers", set(":path", "/b")));
  EXPECT_EQ(upstream_header(":path"), "/b");
}

TEST_F(EnvoyModelTest, a_response_status_can_be_set_from_200_on_and_in_headers_alone) {
  response() = {.send_trailers = true};
  exchange_.response.trailers = Headers{};
  const auto to_response = [&] {
    model_.reset();
    arrive();
    accept("request_headers {}");
    arrive(kResponse);
  };
  to_response();
  ignored(mutate("response_headers", set(":status", "100")));
  to_response();
  accept(mutate("response_headers", set(":status", "404")));
  EXPECT_EQ(first_value(*model().passed(kResponse).headers, ":status"), "404");
  arrive(kResponse);
  ignored("response_trailers { header_mutation { " + set(":status", "404") + " } }");
}

TEST_F(EnvoyModelTest, bytes_that_no_header_may_have_and_too_many_operations_refuse_the_whole_mutation) {
  std::string many;
  for (int i = 0; i <= 100; ++i) many += "remove_headers: \"a" + std::to_string(i) + "\" ";
  std::string result;
  for (int i = 0; i <= 97; ++i) result += set("a" + std::to_string(i), "1");
  for (const std::string& wrong :
       {set("a b", "1"), set("", "1"), set("a", R"(x\ny)"), std::string(R"(remove_headers: "a:b")"), many,
        result, set("a", std::string(61440, 'x'))}) {
    model_.reset();
    arrive();
    refuse(Verdict::kHeaderMutation, mutate("request_headers", wrong));
  }
}

TEST_F(EnvoyModelTest, value_without_raw_value_and_an_append_action_of_its_own_are_not_heeded) {
  arrive();
  ignored(R"(request_headers { response { header_mutation {
      set_headers { header { key: "x" value: "1" } append {} append_action: OVERWRITE_IF_EXISTS_OR_ADD } } } })");
  EXPECT_EQ(upstream_header("x"), "");
  model_.reset();
  arrive();
  ignored(mutate("request_headers", set("a", "1", "} append_action: ADD_IF_ABSENT")));
}

TEST_F(EnvoyModelTest, content_length_is_stripped_outside_buffered_and_cannot_be_set_there) {
  for (const auto mode :
       {ProcessingMode::STREAMED, ProcessingMode::BUFFERED_PARTIAL, ProcessingMode::FULL_DUPLEX_STREAMED}) {
    model_.reset();
    request().body = mode;
    arrive();
    ignored(mutate("request_headers", set("content-length", "6")));
    EXPECT_EQ(upstream_header("content-length"), "(none)");
  }
  model_.reset();
  request() = {.send_headers = false, .body = ProcessingMode::BUFFERED};
  arrive();
  EXPECT_EQ(upstream_header("content-length"), "(none)");
  model_.reset();
  settings_.allow_content_length_header = true;
  arrive();
  EXPECT_EQ(upstream_header("content-length"), "6");
}

// Bodies.

TEST_F(EnvoyModelTest, a_buffered_body_must_have_the_size_that_content_length_says) {
  request().body = ProcessingMode::BUFFERED;
  exchange_.request.chunks = {"abcdef"};
  const auto to_body = [&] {
    model_.reset();
    arrive();
    accept("request_headers {}");
    arrive();
  };
  to_body();
  refuse(Verdict::kContentLength, body("request_body", R"(body: "four")"));
  to_body();
  refuse(Verdict::kContentLength, body("request_body", "clear_body: true"));
  to_body();
  accept(body("request_body", R"(body: "abcDEF")"));
  EXPECT_EQ(model().passed(kRequest).body, "abcDEF");
  to_body();
  accept("request_body { response { header_mutation { " + set("content-length", "4") +
         R"( } body_mutation { body: "four" } } })");
  EXPECT_EQ(model().passed(kRequest).body, "four");
  to_body();
  accept(
      R"(request_body { response { header_mutation { remove_headers: "content-length" } body_mutation { clear_body: true } } })");
  EXPECT_EQ(model().passed(kRequest).body, "");
}

TEST_F(EnvoyModelTest, headers_that_were_skipped_are_gone_when_the_buffered_body_is_answered) {
  request() = {.send_headers = false, .body = ProcessingMode::BUFFERED};
  exchange_.request.chunks = {"abcdef"};
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_body 'abcdef' eos"));
  ignored(mutate("request_body", set("x", "1")));
  EXPECT_EQ(upstream_header("x"), "(none)");
}

TEST_F(EnvoyModelTest, a_streamed_reply_changes_its_own_chunk_and_no_headers) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b", "c"};
  arrive();
  accept("request_headers {}");
  arrive(kRequest, 3);
  accept(body("request_body", R"(body: "X")"));
  accept(body("request_body", "clear_body: true"));
  ignored(mutate("request_body", set("x", "1")));
  EXPECT_EQ(model().passed(kRequest).body, "Xc");
}

TEST_F(EnvoyModelTest, continue_and_replace_replaces_the_body_and_ends_the_direction) {
  request() = {.body = ProcessingMode::BUFFERED, .send_trailers = true};
  exchange_.request.chunks = {"abc"};
  exchange_.request.trailers = Headers{{"t", "1"}};
  arrive();
  accept("request_headers { response { status: CONTINUE_AND_REPLACE header_mutation { " +
         set(":method", "PUT") + R"( } body_mutation { body: "new" } } })");
  EXPECT_THAT(arrive(kRequest, 2), IsEmpty());
  EXPECT_EQ(upstream_header(":method"), "PUT");
  EXPECT_EQ(upstream_header("content-length"), "(none)");
  EXPECT_EQ(model().passed(kRequest).body, "new");
  EXPECT_TRUE(model().passed(kRequest).ended);
  refuse(Verdict::kSpurious, "request_body {}");
  refuse(Verdict::kSpurious, "request_trailers {}");
}

TEST_F(EnvoyModelTest, continue_and_replace_without_a_body_lets_the_original_one_pass_unseen) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b"};
  arrive(kRequest, 2);
  accept("request_headers { response { status: CONTINUE_AND_REPLACE } }");
  EXPECT_THAT(arrive(), IsEmpty());
  EXPECT_EQ(model().passed(kRequest).body, "ab");
}

TEST_F(EnvoyModelTest, chunks_sent_before_continue_and_replace_get_no_reply) {
  settings_.send_body_without_waiting_for_header_response = true;
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a", "b"};
  arrive(kRequest, 2);
  accept(R"(request_headers { response { status: CONTINUE_AND_REPLACE body_mutation { body: "new" } } })");
  refuse(Verdict::kSpurious, "request_body {}");
  arrive();
  EXPECT_EQ(model().passed(kRequest).body, "new");
}

TEST_F(EnvoyModelTest, a_body_in_a_headers_reply_without_continue_and_replace_is_not_heeded) {
  arrive();
  ignored(body("request_headers", R"(body: "new")"));
  EXPECT_EQ(model().passed(kRequest).body, "");
}

// What a reply carries besides.

TEST_F(EnvoyModelTest, clear_route_cache_needs_a_header_mutation_and_a_request) {
  arrive();
  ignored("request_headers { response { clear_route_cache: true } }");
  arrive(kResponse);
  ignored("response_headers { response { clear_route_cache: true header_mutation {} } }");
  model_.reset();
  arrive();
  accept("request_headers { response { clear_route_cache: true header_mutation {} } }");
}

TEST_F(EnvoyModelTest, mode_override_counts_only_where_it_is_allowed_and_takes_body_modes_literally) {
  request().body = ProcessingMode::STREAMED;
  exchange_.request.chunks = {"a"};
  arrive();
  ignored("request_headers {} mode_override { request_body_mode: BUFFERED }");

  model_.reset();
  settings_.allow_mode_override = true;
  arrive();
  accept("request_headers {} mode_override { request_body_mode: BUFFERED }");
  EXPECT_EQ(model().direction(kRequest).mode().body, ProcessingMode::BUFFERED);

  model_.reset();
  arrive();
  arrive();
  accept(
      "request_headers {} mode_override { request_body_mode: FULL_DUPLEX_STREAMED request_trailer_mode: SEND "
      "}");
  EXPECT_THAT(take_sent(), ElementsAre("request_body 'a' eos"));
  accept(
      "request_body { response { body_mutation { streamed_response { body: 'b' end_of_stream: true } } } }");
  EXPECT_EQ(model().passed(kRequest).body, "b");

  model_.reset();
  arrive();
  accept("request_headers {} mode_override { request_trailer_mode: SEND }");
  EXPECT_EQ(model().direction(kRequest).mode().body, ProcessingMode::NONE);
  EXPECT_THAT(arrive(), IsEmpty());

  model_.reset();
  response() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  arrive();
  ignored("request_headers {} mode_override { request_body_mode: BUFFERED }");
}

// How the stream ends.

TEST_F(EnvoyModelTest, an_end_with_ok_lets_what_is_held_and_the_rest_pass_unprocessed) {
  request() = {.body = ProcessingMode::STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a", "b"};
  exchange_.request.trailers = Headers{{"t", "1"}};
  arrive();
  accept("request_headers {}");
  arrive();
  model().server_ended(true);
  EXPECT_EQ(model().passed(kRequest).body, "a");
  EXPECT_THAT(arrive(kRequest, 2), IsEmpty());
  EXPECT_EQ(model().passed(kRequest).body, "ab");
  EXPECT_TRUE(model().passed(kRequest).ended);
  EXPECT_FALSE(model().failed());
}

TEST_F(EnvoyModelTest, in_full_duplex_an_end_with_ok_loses_what_was_not_answered) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  exchange_.request.chunks = {"a", "b"};
  arrive();
  accept("request_headers {}");
  arrive();
  model().server_ended(true);
  arrive();
  EXPECT_EQ(model().passed(kRequest).body, "b");
}

TEST_F(EnvoyModelTest, an_end_with_an_error_fails_the_exchange) {
  arrive();
  model().server_ended(false);
  EXPECT_TRUE(model().failed());
  EXPECT_FALSE(model().can_arrive(kRequest));
}

// gRPC data planes.

class GrpcModelTest : public EnvoyModelTest {
 protected:
  GrpcModelTest() {
    settings_.grpc_data_plane = true;
    settings_.windows = Windows{.downstream_to_sidestream = 10,
                                .sidestream_to_upstream = 4,
                                .upstream_to_sidestream = 10,
                                .sidestream_to_downstream = 10};
    request().body = ProcessingMode::GRPC;
    response() = {.body = ProcessingMode::GRPC, .send_trailers = true};
    exchange_.request.chunks = {"abc", "defgh", ""};
    exchange_.response.chunks = {"ok"};
    exchange_.response.trailers = Headers{{"grpc-status", "0"}};
  }
};

TEST_F(GrpcModelTest, flow_control_init_must_be_answered_first_and_nobody_else_gets_updates) {
  arrive();
  EXPECT_EQ(model().owed().size(), 2U);
  refuse(Verdict::kFlowControl, "request_headers {}");
  refuse(Verdict::kSpurious, "server_window_update {}");  // grpc-go takes nothing before the headers' reply

  model_.reset();
  arrive();
  accept("request_headers {} server_window_update {}");
  EXPECT_THAT(model().owed(), IsEmpty());

  model_.reset();
  settings_.windows.reset();
  arrive();
  refuse(Verdict::kSpurious, "server_window_update {}");
  refuse(Verdict::kSpurious, "request_headers {} server_window_update {}");
}

TEST_F(GrpcModelTest, the_first_message_carries_the_windows_and_headers_are_in_value) {
  model().arrive(kRequest);
  EXPECT_EQ(model().sent()[0].flow_control_init().initial_window_sidestream_to_upstream(), 4);
  EXPECT_EQ(model().sent()[0].request_headers().headers().headers(0).value(), "POST");
}

TEST_F(GrpcModelTest, a_message_is_sent_and_answered_whole_while_the_window_is_positive) {
  settings_.windows->downstream_to_sidestream = 3;
  arrive();
  accept("request_headers {} server_window_update {}");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'abc'"));
  EXPECT_FALSE(model().can_arrive(kRequest));
  accept("server_window_update { window_increment_downstream_to_sidestream: 1 }");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'defgh'"));
  accept(piece("request_body", R"(body: "123456")"));
  refuse(Verdict::kFlowControl, piece("request_body", R"(body: "x")"));
  ASSERT_TRUE(model().can_give_back());
  model().give_back();
  EXPECT_EQ(model().sent().back().client_window_update().window_increment_sidestream_to_upstream(), 6);
  accept(piece("request_body", R"(body: "x")"));
}

TEST_F(GrpcModelTest, in_full_duplex_a_piece_stays_below_the_window_and_the_data_plane_cuts_its_own) {
  request() = {.body = ProcessingMode::FULL_DUPLEX_STREAMED, .send_trailers = true};
  settings_.windows->downstream_to_sidestream = 3;
  arrive();
  accept("request_headers {} server_window_update {}");
  EXPECT_THAT(arrive(), ElementsAre("request_body 'ab'"));
  EXPECT_FALSE(model().can_arrive(kRequest));
  refuse(Verdict::kFlowControl, piece("request_body", R"(body: "1234")"));
  accept(piece("request_body", R"(body: "123")"));
}

TEST_F(GrpcModelTest, windows_that_overflow_are_refused) {
  arrive();
  refuse(Verdict::kFlowControl,
         "server_window_update { window_increment_downstream_to_sidestream: 9223372036854775807 }");
}

TEST_F(GrpcModelTest, a_half_close_is_an_end_without_a_message) {
  arrive();
  accept("request_headers {} server_window_update {}");
  EXPECT_THAT(arrive(kRequest, 3), ElementsAre("request_body 'abc'", "request_body 'defgh'",
                                               "request_body '' eos without message"));
  accept(piece("request_body", R"(body: "abc")"));
  refuse(Verdict::kEndOfStream,
         piece("request_body", R"(body: "x" end_of_stream: true end_of_stream_without_message: true)"));
  accept(piece("request_body", "end_of_stream: true end_of_stream_without_message: true"));
  EXPECT_THAT(model().passed(kRequest).grpc_messages, ElementsAre("abc"));
}

TEST_F(GrpcModelTest, an_early_end_with_ok_fails_the_exchange_where_bodies_go_through_the_server) {
  arrive();
  model().server_ended(true);
  EXPECT_TRUE(model().failed());

  model_.reset();
  request().body = ProcessingMode::NONE;
  response().body = ProcessingMode::NONE;
  arrive();
  model().server_ended(true);
  EXPECT_FALSE(model().failed());
}

TEST_F(GrpcModelTest, what_only_envoy_takes_is_refused) {
  const auto to_body = [&] {
    model_.reset();
    arrive();
    accept("request_headers {} server_window_update {}");
    arrive();
  };
  arrive();
  refuse(Verdict::kReplaceUnsupported,
         "request_headers { response { status: CONTINUE_AND_REPLACE } } server_window_update {}");
  for (const auto* name : {":path", "grpc-timeout", "host", "Upper"}) {
    model_.reset();
    arrive();
    refuse(Verdict::kHeaderMutation, mutate("request_headers", set(name, "1")) + " server_window_update {}");
    model_.reset();
    arrive();
    refuse(Verdict::kHeaderMutation,
           mutate("request_headers", std::string("remove_headers: \"") + name + "\"") +
               " server_window_update {}");
  }
  to_body();
  refuse(Verdict::kSpurious, piece("request_body", "grpc_message_compressed: true"));
  to_body();
  refuse(Verdict::kSpurious, "request_body {}");
  to_body();
  refuse(Verdict::kReplaceUnsupported,
         "request_body { response { status: CONTINUE_AND_REPLACE body_mutation { streamed_response {} } } }");
  to_body();
  refuse(Verdict::kSpurious,
         "request_body { response { header_mutation {} body_mutation { streamed_response {} } } }");
}

TEST_F(GrpcModelTest, towards_the_client_trailers_are_the_end) {
  arrive();
  accept("request_headers {} server_window_update {}");
  EXPECT_THAT(arrive(kResponse, 3),
              ElementsAre("response_headers", "response_body 'ok'", "response_trailers"));
  accept("response_headers {}");
  refuse(Verdict::kEndOfStream, piece("response_body", "end_of_stream: true"));
  accept(piece("response_body", R"(body: "ok")"));
  accept("response_trailers {}");
  EXPECT_TRUE(model().passed(kResponse).ended);
}

TEST_F(GrpcModelTest, a_drain_half_closes_and_what_still_comes_passes_by_when_the_stream_has_ended) {
  EXPECT_THAT(arrive(kRequest, 2), ElementsAre("request_headers", "request_body 'abc'"));
  accept("request_headers {} server_window_update {}");
  EXPECT_FALSE(model().half_closes());
  accept(piece("request_body", R"(body: "abc")"));
  accept("request_drain: true");
  EXPECT_TRUE(model().half_closes());
  EXPECT_FALSE(model().can_arrive(kRequest));
  model().server_ended(true);
  EXPECT_FALSE(model().failed());
  EXPECT_THAT(arrive(kRequest, 2), IsEmpty());
  EXPECT_THAT(model().passed(kRequest).grpc_messages, ElementsAre("abc", "defgh"));
  EXPECT_TRUE(model().passed(kRequest).ended);
}

TEST_F(GrpcModelTest, in_a_drain_no_window_is_given_back_and_none_is_needed) {
  arrive(kRequest, 2);
  accept("request_headers {} server_window_update {}");
  accept(piece("request_body", R"(body: "abcdef")") + " request_drain: true");
  EXPECT_FALSE(model().can_give_back());
  accept(piece("request_body", R"(body: "ghi")"));
}

TEST_F(GrpcModelTest, append_action_decides_and_value_is_read_but_for_binary_headers) {
  exchange_.request.headers.emplace_back("a", "1");
  arrive();
  accept(R"(server_window_update {} request_headers { response { header_mutation {
      set_headers { header { key: "a" value: "2" } }
      set_headers { header { key: "a" value: "3" } append_action: ADD_IF_ABSENT }
      set_headers { header { key: "b" value: "1" } append_action: OVERWRITE_IF_EXISTS }
      set_headers { header { key: "c-bin" raw_value: "1" } append_action: OVERWRITE_IF_EXISTS_OR_ADD }
      set_headers { header { key: "d" raw_value: "1" } append_action: OVERWRITE_IF_EXISTS_OR_ADD } } } })");
  const Headers& headers = *model().passed(kRequest).headers;
  EXPECT_THAT(std::vector(headers.begin() + 4, headers.end()),
              ElementsAre(Pair("a", "1"), Pair("a", "2"), Pair("c-bin", "1"), Pair("d", "")));
}

}  // namespace
}  // namespace extprocd::model
