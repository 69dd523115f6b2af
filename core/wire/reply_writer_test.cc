#include "core/wire/reply_writer.h"

#include <limits>
#include <string>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "core/wire/dynamic_metadata.h"

namespace extprocd::wire {
namespace {

using envoy::service::ext_proc::v3::ProcessingResponse;

/// Are these the bytes that protobuf would write for the message of that text?
testing::AssertionResult is(const Pieces& pieces, const std::string& text) {
  const std::string bytes = pieces.joined();
  const google::protobuf::LogSilencer silencer;  // `append` is deprecated, and all that Envoy looks at
  ProcessingResponse expected;
  if (!google::protobuf::TextFormat::ParseFromString(text, &expected)) {
    return testing::AssertionFailure() << "not a ProcessingResponse: " << text;
  }
  ProcessingResponse actual;
  if (!actual.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return testing::AssertionFailure() << "cannot be parsed";
  }
  if (!google::protobuf::util::MessageDifferencer::Equals(actual, expected)) {
    return testing::AssertionFailure() << "is " << actual.DebugString();
  }
  if (bytes != expected.SerializeAsString())
    return testing::AssertionFailure() << "is not in protobuf's own form";
  return testing::AssertionSuccess();
}

http::HeaderMutation some_mutation() {
  http::HeaderMutation mutation;
  mutation.set.push_back({.name = "x-one", .value = "1", .append = false});
  mutation.set.push_back({.name = "x-many", .value = "\xFF\x01", .append = true});
  mutation.remove.push_back("x-gone");
  mutation.remove.push_back("x-gone-too");
  return mutation;
}

constexpr const char* kSomeMutation = R"pb(
  set_headers {
    header { key: "x-one" raw_value: "1" }
    append { value: false }
    append_action: OVERWRITE_IF_EXISTS_OR_ADD
  }
  set_headers {
    header { key: "x-many" raw_value: "\377\001" }
    append { value: true }
    append_action: APPEND_IF_EXISTS_OR_ADD
  }
  remove_headers: "x-gone"
  remove_headers: "x-gone-too"
)pb";

std::string with_some_mutation(const std::string& before, const std::string& behind) {
  return before + " { " + kSomeMutation + " } " + behind;
}

TEST(ReplyWriter, UnchangedHeadersGetAnEmptyAnswer) {
  ReplyWriter writer;
  const http::HeaderMutation none;
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {}), "request_headers {}"));
  EXPECT_TRUE(is(writer.headers(Direction::kResponse, {.mutation = &none}), "response_headers {}"));
}

TEST(ReplyWriter, HeaderMutationSaysItToEnvoyAndToGrpcAlike) {
  ReplyWriter writer;
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {.mutation = &mutation}),
                 with_some_mutation("request_headers { response { header_mutation", "} }")));
  EXPECT_TRUE(is(writer.headers(Direction::kResponse, {.mutation = &mutation}),
                 with_some_mutation("response_headers { response { header_mutation", "} }")));
}

TEST(ReplyWriter, ARemovalAloneIsAMutation) {
  ReplyWriter writer;
  http::HeaderMutation mutation;
  mutation.remove.push_back("cookie");
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {.mutation = &mutation}),
                 R"pb(request_headers { response { header_mutation { remove_headers: "cookie" } } })pb"));
}

TEST(ReplyWriter, GrpcDataPlaneGetsValueWhereItCanBeWritten) {
  ReplyWriter writer;
  writer.set_grpc_data_plane(true);
  http::HeaderMutation mutation;
  mutation.set = {{.name = "a", .value = "text"},
                  {.name = "b-bin", .value = "text"},
                  {.name = "c", .value = "\xFF"},
                  {.name = "d", .value = ""}};
  EXPECT_TRUE(is(writer.trailers(Direction::kRequest, &mutation), R"pb(
    request_trailers {
      header_mutation {
        set_headers {
          header { key: "a" value: "text" raw_value: "text" }
          append {}
          append_action: OVERWRITE_IF_EXISTS_OR_ADD
        }
        set_headers {
          header { key: "b-bin" raw_value: "text" }
          append {}
          append_action: OVERWRITE_IF_EXISTS_OR_ADD
        }
        set_headers {
          header { key: "c" raw_value: "\377" }
          append {}
          append_action: OVERWRITE_IF_EXISTS_OR_ADD
        }
        set_headers {
          header { key: "d" }
          append {}
          append_action: OVERWRITE_IF_EXISTS_OR_ADD
        }
      }
    })pb"));
}

TEST(ReplyWriter, ClearRouteCacheComesWithAMutationForEnvoyIgnoresItOtherwise) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {.clear_route_cache = true}),
                 "request_headers { response { header_mutation {} clear_route_cache: true } }"));
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(
      is(writer.headers(Direction::kRequest, {.mutation = &mutation, .clear_route_cache = true}),
         with_some_mutation("request_headers { response { header_mutation", "clear_route_cache: true } }")));
}

TEST(ReplyWriter, ResponsesHaveNoRouteCacheToClear) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.headers(Direction::kResponse, {.clear_route_cache = true}), "response_headers {}"));
}

TEST(ReplyWriter, ReplacementBodyIsContinueAndReplace) {
  ReplyWriter writer;
  EXPECT_TRUE(
      is(writer.headers(Direction::kResponse, {.replace_body = "new"}), R"pb(response_headers {
                                                                               response {
                                                                                 status: CONTINUE_AND_REPLACE
                                                                                 body_mutation { body: "new" }
                                                                               }
                                                                             })pb"));
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(
      is(writer.headers(Direction::kRequest, {.mutation = &mutation, .replace_body = ""}),
         with_some_mutation("request_headers { response { status: CONTINUE_AND_REPLACE header_mutation",
                            "body_mutation { body: \"\" } } }")));
}

TEST(ReplyWriter, BodyAnswerIsEmpty) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.body(Direction::kRequest), "request_body {}"));
  EXPECT_TRUE(is(writer.body(Direction::kResponse), "response_body {}"));
}

TEST(ReplyWriter, StreamedBodyCarriesBytesAndFlags) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.streamed_body(Direction::kRequest, {}),
                 "request_body { response { body_mutation { streamed_response {} } } }"));
  EXPECT_TRUE(
      is(writer.streamed_body(Direction::kResponse, {.bytes = "piece", .end_of_stream = true}), R"pb(
        response_body {
          response { body_mutation { streamed_response { body: "piece" end_of_stream: true } } }
        })pb"));
  EXPECT_TRUE(
      is(writer.streamed_body(Direction::kRequest, {.end_of_stream_without_message = true}), R"pb(
        request_body {
          response { body_mutation { streamed_response { end_of_stream_without_message: true } } }
        })pb"));
  EXPECT_TRUE(is(writer.streamed_body(Direction::kRequest, {.grpc_message_compressed = true}),
                 R"pb(
                   request_body {
                     response { body_mutation { streamed_response { grpc_message_compressed: true } } }
                   })pb"));
  EXPECT_TRUE(is(writer.streamed_body(Direction::kRequest, {.drain_complete = true}), R"pb(
    request_body { response { body_mutation { streamed_response { drain_complete: true } } } })pb"));
}

TEST(ReplyWriter, EveryLengthOfBodyIsWrittenRight) {
  ReplyWriter kept;
  for (const std::size_t size : {100, 127, 128, 240, 250, 256, 16383, 16384, 70000, 1048576, 5}) {
    const std::string bytes(size, 'x');
    const StreamedBody body = {.bytes = bytes, .end_of_stream = true};
    const std::string expected = "request_body { response { body_mutation { streamed_response { body: \"" +
                                 bytes + "\" end_of_stream: true } } } }";
    EXPECT_TRUE(is(kept.streamed_body(Direction::kRequest, body), expected)) << size;
    ReplyWriter fresh;
    EXPECT_TRUE(is(fresh.streamed_body(Direction::kRequest, body), expected)) << size;
  }
}

TEST(ReplyWriter, AStreamedBodyIsBorrowedAndNotCopied) {
  ReplyWriter writer;
  const std::string bytes(100, 'x');
  const Extras extras = {.window_update = ServerWindowUpdate{.downstream_to_sidestream = 7}};
  const Pieces reply =
      writer.streamed_body(Direction::kRequest, {.bytes = bytes, .end_of_stream = true}, extras);
  EXPECT_EQ(reply.list()[1].data(), bytes.data());
  EXPECT_EQ(reply.list()[1].size(), bytes.size());
  EXPECT_EQ(reply.size(), reply.joined().size());
  // The next reply knows nothing of it.
  EXPECT_TRUE(is(writer.body(Direction::kRequest), "request_body {}"));
}

TEST(ReplyWriter, TrailersAnswerCarriesTheMutation) {
  ReplyWriter writer;
  const http::HeaderMutation none;
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(is(writer.trailers(Direction::kRequest, nullptr), "request_trailers {}"));
  EXPECT_TRUE(is(writer.trailers(Direction::kResponse, &none), "response_trailers {}"));
  EXPECT_TRUE(is(writer.trailers(Direction::kResponse, &mutation),
                 with_some_mutation("response_trailers { header_mutation", "}")));
}

TEST(ReplyWriter, ImmediateResponseCarriesAllItsParts) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.immediate({.status = 403}), "immediate_response { status { code: Forbidden } }"));
  EXPECT_TRUE(is(writer.immediate({.status = 200, .grpc_status = 0}),
                 "immediate_response { status { code: OK } grpc_status {} }"));
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(
      is(writer.immediate({.status = 429,
                           .mutation = &mutation,
                           .body = std::string_view("no\0more", 7),
                           .grpc_status = 8,
                           .details = "too_many"}),
         with_some_mutation("immediate_response { status { code: TooManyRequests } headers",
                            R"(body: "no\000more" grpc_status { status: 8 } details: "too_many" })")));
}

TEST(ReplyWriter, AnyHttpStatusCanBeWritten) {
  ReplyWriter writer;
  const std::string_view bytes = writer.immediate({.status = 599});
  ProcessingResponse response;
  ASSERT_TRUE(response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(static_cast<int>(response.immediate_response().status().code()), 599);
}

TEST(ReplyWriter, DetailsThatAreNotUtf8AreRepaired) {
  ReplyWriter writer;
  EXPECT_TRUE(
      is(writer.immediate({.status = 500, .details = "bad \xFF"}), R"pb(immediate_response {
                                                                          status { code: InternalServerError }
                                                                          details: "bad \357\277\275"
                                                                        })pb"));
}

TEST(ReplyWriter, ExtrasRideOnEveryReply) {
  ReplyWriter writer;
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set("ns", "key", "value").ok());
  ASSERT_TRUE(metadata.set_typed("ns", "type.googleapis.com/a.Message", "bytes").ok());
  const std::string encoded = metadata.encode();
  const std::string typed = metadata.encode_typed();
  const Extras extras = {.dynamic_metadata = encoded,
                         .typed_dynamic_metadata = typed,
                         .window_update = ServerWindowUpdate{1, 2}};
  const std::string expected = R"pb(
    dynamic_metadata {
      fields {
        key: "ns"
        value {
          struct_value {
            fields {
              key: "key"
              value { string_value: "value" }
            }
          }
        }
      }
    }
    typed_dynamic_metadata {
      key: "ns"
      value { type_url: "type.googleapis.com/a.Message" value: "bytes" }
    }
    server_window_update {
      window_increment_downstream_to_sidestream: 1
      window_increment_upstream_to_sidestream: 2
    }
  )pb";
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {}, extras), "request_headers {}" + expected));
  EXPECT_TRUE(is(writer.body(Direction::kResponse, extras), "response_body {}" + expected));
  EXPECT_TRUE(is(writer.streamed_body(Direction::kRequest, {}, extras),
                 "request_body { response { body_mutation { streamed_response {} } } }" + expected));
  EXPECT_TRUE(is(writer.trailers(Direction::kRequest, nullptr, extras), "request_trailers {}" + expected));
  EXPECT_TRUE(
      is(writer.immediate({.status = 200}, extras), "immediate_response { status { code: OK } }" + expected));
}

TEST(ReplyWriter, TypedMetadataAloneIsReasonEnoughForAReplyOfItsOwn) {
  ReplyWriter writer;
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set_typed("ns", "a/b", "").ok());
  EXPECT_EQ(metadata.encode(), "");
  const std::string typed = metadata.encode_typed();
  EXPECT_TRUE(is(writer.body(Direction::kRequest, {.typed_dynamic_metadata = typed}), R"pb(
    request_body {}
    typed_dynamic_metadata {
      key: "ns"
      value { type_url: "a/b" }
    })pb"));
}

TEST(ReplyWriter, ABodyIsReplacedOrClearedAndHeldHeadersChangeWithIt) {
  ReplyWriter writer;
  const http::HeaderMutation mutation = some_mutation();
  EXPECT_TRUE(is(
      writer.body(Direction::kRequest, {.mutation = &mutation, .clear_route_cache = true, .replace = "new"}),
      std::string("request_body { response { header_mutation {") + kSomeMutation +
          "} body_mutation { body: 'new' } clear_route_cache: true } }"));
  EXPECT_TRUE(is(writer.body(Direction::kResponse, {.clear_route_cache = true, .replace = ""}),
                 "response_body { response { body_mutation { clear_body: true } } }"));
  EXPECT_TRUE(is(writer.body(Direction::kRequest, {.clear_route_cache = true}),
                 "request_body { response { header_mutation {} clear_route_cache: true } }"));
  const http::HeaderMutation nothing;
  EXPECT_TRUE(is(writer.body(Direction::kResponse, BodyReply{.mutation = &nothing}), "response_body {}"));
}

TEST(ReplyWriter, AModeOverrideAlwaysHasBothBodyModes) {
  ReplyWriter writer;
  Extras extras;
  extras.mode_override = {.response_headers = SendMode::kSkip,
                          .request_body = BodyMode::kFullDuplexStreamed,
                          .response_body = BodyMode::kBuffered,
                          .request_trailers = SendMode::kSend,
                          .response_trailers = SendMode::kDefault};
  EXPECT_TRUE(is(writer.headers(Direction::kRequest, {}, extras), R"pb(
    request_headers {}
    mode_override {
      response_header_mode: SKIP
      request_body_mode: FULL_DUPLEX_STREAMED
      response_body_mode: BUFFERED
      request_trailer_mode: SEND
    })pb"));
}

TEST(ReplyWriter, ALocalReplyInPiecesHasItsPartsInOrder) {
  ReplyWriter writer;
  http::HeaderMutation mutation;
  mutation.set.push_back({.name = "x-one", .value = "1", .append = false});
  EXPECT_TRUE(is(writer.streamed_immediate_headers({.status = 201, .mutation = &mutation}, false), R"pb(
    streamed_immediate_response {
      headers_response {
        headers {
          headers { key: ":status" raw_value: "201" }
          headers { key: "x-one" raw_value: "1" }
        }
      }
    })pb"));
  EXPECT_TRUE(is(writer.streamed_immediate_headers({.status = 204}, true), R"pb(
    streamed_immediate_response {
      headers_response {
        headers { headers { key: ":status" raw_value: "204" } }
        end_of_stream: true
      }
    })pb"));
  EXPECT_TRUE(is(writer.streamed_immediate_body("abc", false),
                 "streamed_immediate_response { body_response { body: 'abc' } }"));
  EXPECT_TRUE(is(writer.streamed_immediate_body("", true),
                 "streamed_immediate_response { body_response { end_of_stream: true } }"));
  EXPECT_TRUE(is(writer.streamed_immediate_trailers(mutation.set), R"pb(
    streamed_immediate_response { trailers_response { headers { key: "x-one" raw_value: "1" } } })pb"));
}

TEST(ReplyWriter, MoreTimeIsAskedForInAMessageOfItsOwn) {
  ReplyWriter writer;
  EXPECT_TRUE(
      is(writer.override_message_timeout(2500), "override_message_timeout { seconds: 2 nanos: 500000000 }"));
  EXPECT_TRUE(is(writer.override_message_timeout(1), "override_message_timeout { nanos: 1000000 }"));
}

TEST(ReplyWriter, WindowUpdateStandsAloneAndIsSigned) {
  ReplyWriter writer;
  EXPECT_TRUE(is(writer.window_update({0, 0}), "server_window_update {}"));
  EXPECT_TRUE(is(writer.window_update({-1, std::numeric_limits<int64_t>::max()}), R"pb(
    server_window_update {
      window_increment_downstream_to_sidestream: -1
      window_increment_upstream_to_sidestream: 9223372036854775807
    })pb"));
}

}  // namespace
}  // namespace extprocd::wire
