#include "core/wire/request_view.h"

#include <string>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace extprocd::wire {
namespace {

using std::string_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string encoded(const std::string& text) {
  envoy::service::ext_proc::v3::ProcessingRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request.SerializeAsString();
}

MATCHER_P2(Header, name, value, "") { return arg.name == name && arg.value == value; }

std::string error_of(const std::string& bytes) {
  RequestView view;
  const absl::Status status = view.parse(bytes);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status));
  return std::string(status.message());
}

TEST(RequestView, ReadsHeadersInOrderWithRawValueBeforeValue) {
  const std::string message = encoded(R"pb(
    request_headers {
      headers {
        headers { key: ":path" raw_value: "/a\377" }
        headers { key: "x" value: "from value" }
        headers { key: "x" value: "not this" raw_value: "this" }
        headers { key: "empty" }
      }
      end_of_stream: true
    })pb");
  RequestView view;
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_EQ(view.kind(), MessageKind::kRequestHeaders);
  EXPECT_TRUE(view.end_of_stream());
  EXPECT_THAT(view.headers(), ElementsAre(Header(":path", "/a\xFF"), Header("x", "from value"),
                                          Header("x", "this"), Header("empty", "")));
}

TEST(RequestView, TellsEveryKindApart) {
  const auto kind = [](const std::string& text) {
    RequestView view;
    EXPECT_TRUE(view.parse(encoded(text)).ok());
    return view.kind();
  };
  EXPECT_EQ(kind(""), MessageKind::kNone);
  EXPECT_EQ(kind("request_headers {}"), MessageKind::kRequestHeaders);
  EXPECT_EQ(kind("request_body {}"), MessageKind::kRequestBody);
  EXPECT_EQ(kind("request_trailers {}"), MessageKind::kRequestTrailers);
  EXPECT_EQ(kind("response_headers {}"), MessageKind::kResponseHeaders);
  EXPECT_EQ(kind("response_body {}"), MessageKind::kResponseBody);
  EXPECT_EQ(kind("response_trailers {}"), MessageKind::kResponseTrailers);
}

TEST(RequestView, BodyIsAViewIntoTheMessage) {
  const std::string message = encoded(R"pb(
    response_body {
      body: "bytes"
      end_of_stream: true
      end_of_stream_without_message: true
      grpc_message_compressed: true
      drain_complete: true
    })pb");
  RequestView view;
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_EQ(view.body().body, "bytes");
  EXPECT_EQ(view.body().body.data(), message.data() + message.find("bytes"));
  EXPECT_TRUE(view.end_of_stream());
  EXPECT_TRUE(view.body().end_of_stream_without_message);
  EXPECT_TRUE(view.body().grpc_message_compressed);
  EXPECT_TRUE(view.body().drain_complete);
}

TEST(RequestView, ReadsWhatComesBesideThePhase) {
  RequestView view;
  const std::string message = encoded(R"pb(
    response_trailers { trailers { headers { key: "t" raw_value: "v" } } }
    observability_mode: true
    protocol_config {
      request_body_mode: GRPC
      response_body_mode: BUFFERED
      send_body_without_waiting_for_header_response: true
    }
    flow_control_init {
      initial_window_downstream_to_sidestream: 1
      initial_window_sidestream_to_upstream: 2
      initial_window_upstream_to_sidestream: 3
      initial_window_sidestream_to_downstream: 4
    }
    client_window_update {
      window_increment_sidestream_to_upstream: -5
      window_increment_sidestream_to_downstream: 6
    }
    attributes { key: "a" }
    metadata_context {})pb");
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_THAT(view.headers(), ElementsAre(Header("t", "v")));
  EXPECT_TRUE(view.observability_mode());
  ASSERT_TRUE(view.protocol_config());
  EXPECT_EQ(view.protocol_config()->request_body_mode, BodyMode::kGrpc);
  EXPECT_EQ(view.protocol_config()->response_body_mode, BodyMode::kBuffered);
  EXPECT_TRUE(view.protocol_config()->send_body_without_waiting_for_header_response);
  ASSERT_TRUE(view.flow_control_init());
  EXPECT_EQ(view.flow_control_init()->downstream_to_sidestream, 1);
  EXPECT_EQ(view.flow_control_init()->sidestream_to_upstream, 2);
  EXPECT_EQ(view.flow_control_init()->upstream_to_sidestream, 3);
  EXPECT_EQ(view.flow_control_init()->sidestream_to_downstream, 4);
  ASSERT_TRUE(view.client_window_update());
  EXPECT_EQ(view.client_window_update()->sidestream_to_upstream, -5);
  EXPECT_EQ(view.client_window_update()->sidestream_to_downstream, 6);
  EXPECT_THAT(view.attributes(), SizeIs(1));
  EXPECT_THAT(view.metadata_context(), ElementsAre(""));
}

TEST(RequestView, AnUnknownBodyModeCountsAsNone) {
  RequestView view;
  ASSERT_TRUE(view.parse("\x5A\x04\x08\x06\x10\x04"s).ok());  // protocol_config { 6, FULL_DUPLEX_STREAMED }
  EXPECT_EQ(view.protocol_config()->request_body_mode, BodyMode::kNone);
  EXPECT_EQ(view.protocol_config()->request_body_mode_number, 6);
  EXPECT_EQ(view.protocol_config()->response_body_mode, BodyMode::kFullDuplexStreamed);
  EXPECT_EQ(view.protocol_config()->response_body_mode_number, 4);
}

TEST(RequestView, AnEmptyProtocolConfigIsPresent) {
  RequestView view;
  ASSERT_TRUE(view.parse(encoded("protocol_config {}")).ok());
  EXPECT_TRUE(view.protocol_config());
  ASSERT_TRUE(view.parse(encoded("request_headers {}")).ok());
  EXPECT_FALSE(view.protocol_config());
}

TEST(RequestView, SubmessagesThatComeTwiceAreMerged) {
  RequestView view;
  const std::string message =
      encoded(R"(request_headers { headers { headers { key: "a" } } end_of_stream: true })") +
      encoded(R"(request_headers { headers { headers { key: "b" } } })");
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_THAT(view.headers(), ElementsAre(Header("a", ""), Header("b", "")));
  EXPECT_TRUE(view.end_of_stream());
}

TEST(RequestView, ALaterPhaseClearsAnEarlierOne) {
  RequestView view;
  const std::string message =
      encoded(R"(request_headers { headers { headers { key: "a" } } end_of_stream: true })") +
      encoded("request_body { end_of_stream: true }") + encoded("request_headers {}");
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_EQ(view.kind(), MessageKind::kRequestHeaders);
  EXPECT_THAT(view.headers(), IsEmpty());
  EXPECT_FALSE(view.end_of_stream());
}

TEST(RequestView, UnknownFieldsOfAnyTypeArePassedOver) {
  RequestView view;
  const std::string unknown =
      "\xA0\x06\x01"s  // 100: varint
      "\xA1\x06"
      "12345678"
      "\xA5\x06"
      "1234"  // fixed
      "\xA2\x06\x03"
      "abc"                                // bytes
      "\xA3\x06\x0B\x08\x01\x0C\xA4\x06"s  // group in a group
      "\x50\x01"
      "\x52\x01x";  // observability_mode, and again with a wrong type
  ASSERT_TRUE(view.parse(unknown).ok());
  EXPECT_TRUE(view.observability_mode());
}

TEST(RequestView, ErrorsSayWhatIsWrongAndWhere) {
  EXPECT_EQ(error_of("\x50"), "ProcessingRequest: a number that is cut off or too long at byte 1");
  EXPECT_THAT(error_of("\x50\x01\x80"), HasSubstr("a tag that is cut off or too long at byte 2"));
  EXPECT_THAT(error_of("\x22\x05"
                       "abc"),
              HasSubstr("a length beyond the end at byte 1"));
  EXPECT_THAT(error_of("\x12\x05\x0A\x03\x0A\x02x"), HasSubstr("a length beyond the end at byte 5"));
  EXPECT_THAT(error_of("\x02\x00"s), HasSubstr("field number 0 at byte 0"));
  EXPECT_THAT(error_of("\x0C"), HasSubstr("the end of a group that did not begin at byte 0"));
  EXPECT_THAT(error_of("\x0B\x14"), HasSubstr("the end of another group"));
  EXPECT_THAT(error_of("\x0B"), HasSubstr("a group without an end at byte 1"));
  EXPECT_THAT(error_of("\x0E"), HasSubstr("an unknown wire type"));
  EXPECT_THAT(error_of("\x55\x01"), HasSubstr("a number that is cut off"));
  EXPECT_THAT(error_of("\x12\x07\x0A\x05\x0A\x03\x0A\x01\xFF"),
              HasSubstr("the name of a header that is not UTF-8 at byte 8"));
  EXPECT_THAT(error_of("\x12\x07\x0A\x05\x0A\x03\x12\x01\xFF"),
              HasSubstr("the value of a header that is not UTF-8"));
}

TEST(RequestView, GroupsGoAHundredDeep) {
  const auto groups = [](std::size_t depth) {
    return std::string(depth, '\x0B') + std::string(depth, '\x0C');
  };
  EXPECT_EQ(error_of(groups(100)), "");
  EXPECT_THAT(error_of(groups(101)), HasSubstr("groups nested too deep"));
}

TEST(RequestView, ForgetsTheEarlierMessageAndKeepsItsStorage) {
  const std::string first = encoded(R"pb(
    request_headers {
      headers {
        headers { key: "a" }
        headers { key: "b" }
      }
      end_of_stream: true
    }
    observability_mode: true
    protocol_config {}
    flow_control_init {}
    client_window_update {}
    attributes { key: "a" }
    metadata_context {})pb");
  RequestView view;
  ASSERT_TRUE(view.parse(first).ok());
  const HeaderView* const storage = view.headers().data();
  ASSERT_TRUE(view.parse("").ok());
  EXPECT_EQ(view.kind(), MessageKind::kNone);
  EXPECT_THAT(view.headers(), IsEmpty());
  EXPECT_FALSE(view.end_of_stream());
  EXPECT_FALSE(view.observability_mode());
  EXPECT_FALSE(view.protocol_config() || view.flow_control_init() || view.client_window_update());
  EXPECT_THAT(view.attributes(), IsEmpty());
  EXPECT_THAT(view.metadata_context(), IsEmpty());
  ASSERT_TRUE(view.parse(first).ok());
  EXPECT_EQ(view.headers().data(), storage);
}

TEST(RequestView, CountsMoreEntriesThanItKeeps) {
  envoy::service::ext_proc::v3::ProcessingRequest request;
  for (int i = 0; i < 5; ++i) {
    request.mutable_request_headers()->mutable_headers()->add_headers()->set_key(std::to_string(i));
    (*request.mutable_attributes())[std::to_string(i)];
  }
  const std::string bytes = request.SerializeAsString();
  RequestView view;
  ASSERT_TRUE(view.parse(bytes, 3).ok());
  EXPECT_THAT(view.headers(), SizeIs(3));
  EXPECT_EQ(view.header_count(), 5U);
  EXPECT_THAT(view.attributes(), SizeIs(3));
  EXPECT_EQ(view.attribute_count(), 5U);
  ASSERT_TRUE(view.parse(bytes).ok());
  EXPECT_THAT(view.headers(), SizeIs(5));
  EXPECT_EQ(view.header_count(), 5U);
}

}  // namespace
}  // namespace extprocd::wire
