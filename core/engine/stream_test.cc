#include "core/engine/stream.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using testing::HasSubstr;

/// Streams that go on though no plugin wants anything.
class StreamTest : public EngineFixture {
 protected:
  StreamTest() {
    config::DataPlane data_plane;
    data_plane.early_end = false;
    begin_anew(data_plane);
  }
};

constexpr auto* kConfigBuffered =
    "protocol_config { request_body_mode: BUFFERED response_body_mode: BUFFERED }";
constexpr auto* kConfigDuplex =
    "protocol_config { request_body_mode: FULL_DUPLEX_STREAMED response_body_mode: FULL_DUPLEX_STREAMED }";
constexpr auto* kConfigGrpc = "protocol_config { request_body_mode: GRPC response_body_mode: GRPC }";

std::string with(const std::string& message, const std::string& config) { return message + " " + config; }

TEST_F(StreamTest, unchanged_messages_of_every_phase_get_the_empty_reply_of_their_kind) {
  send(R"(request_headers { headers { headers { key: ":path" raw_value: "/" } } })");
  expect_replies({"request_headers {}"});
  send(R"(request_body { body: "abc" })");
  expect_replies({"request_body {}"});
  send("request_trailers {}");
  expect_replies({"request_trailers {}"});
  send("response_headers {}");
  expect_replies({"response_headers {}"});
  send(R"(response_body { body: "abc" end_of_stream: false })");
  expect_replies({"response_body {}"});
  send("response_trailers {}");
  expect_replies({"response_trailers {}"});
  stream().half_closed();
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest, any_kind_of_message_may_be_the_first) {
  for (const std::string kind : {"request_headers", "request_body", "request_trailers", "response_headers",
                                 "response_body", "response_trailers"}) {
    stream_.reset();
    sink_ = {};
    send(kind + " {}");
    expect_replies({kind + " {}"});
  }
}

TEST_F(StreamTest, directions_may_interleave) {
  send("request_headers {}");
  send(R"(request_body { body: "a" })");
  send("response_headers {}");
  send(R"(request_body { body: "b" end_of_stream: true })");
  send(R"(response_body { body: "c" end_of_stream: true })");
  expect_replies({"request_headers {}", "request_body {}", "response_headers {}", "request_body {}",
                  "response_body {}"});
}

TEST_F(StreamTest, a_body_in_full_duplex_is_echoed_as_streamed_response) {
  send(with("request_headers {}", kConfigDuplex));
  send(R"(request_body { body: "abc" })");
  send(R"(request_body { end_of_stream: true })");
  expect_replies(
      {"request_headers {}",
       R"(request_body { response { body_mutation { streamed_response { body: "abc" } } } })",
       "request_body { response { body_mutation { streamed_response { end_of_stream: true } } } }"});
}

TEST_F(StreamTest, a_large_piece_in_full_duplex_is_cut_at_62_kib_and_ends_once) {
  const std::string body(150 * 1024, 'x');
  send(with("request_headers {}", kConfigDuplex));
  ProcessingRequest request;
  request.mutable_request_body()->set_body(body);
  request.mutable_request_body()->set_end_of_stream(true);
  send(request);
  ASSERT_EQ(sink_.replies.size(), 4U);
  std::string echoed;
  for (std::size_t i = 1; i < sink_.replies.size(); ++i) {
    const auto& piece = sink_.replies[i].request_body().response().body_mutation().streamed_response();
    EXPECT_LE(piece.body().size(), 62U * 1024);
    EXPECT_EQ(piece.end_of_stream(), i == 3);
    echoed += piece.body();
  }
  EXPECT_EQ(echoed, body);
}

TEST_F(StreamTest, modes_hold_per_direction) {
  send(
      "request_headers {} protocol_config { request_body_mode: STREAMED response_body_mode: "
      "FULL_DUPLEX_STREAMED }");
  send(R"(request_body { body: "a" })");
  send(R"(response_body { body: "b" })");
  expect_replies({"request_headers {}", "request_body {}",
                  R"(response_body { response { body_mutation { streamed_response { body: "b" } } } })"});
}

TEST_F(StreamTest, a_grpc_message_is_never_cut_and_keeps_its_flags) {
  const std::string body(200 * 1024, 'x');
  send(with("request_headers {}", kConfigGrpc));
  ProcessingRequest request;
  request.mutable_request_body()->set_body(body);
  request.mutable_request_body()->set_grpc_message_compressed(true);
  send(request);
  send("request_body { end_of_stream: true end_of_stream_without_message: true }");
  ASSERT_EQ(sink_.replies.size(), 3U);
  const auto& echo = sink_.replies[1].request_body().response().body_mutation().streamed_response();
  EXPECT_EQ(echo.body(), body);
  EXPECT_TRUE(echo.grpc_message_compressed());
  const auto& last = sink_.replies[2].request_body().response().body_mutation().streamed_response();
  EXPECT_TRUE(last.end_of_stream());
  EXPECT_TRUE(last.end_of_stream_without_message());
}

constexpr auto* kWindows = R"(
  protocol_config { request_body_mode: GRPC response_body_mode: GRPC }
  flow_control_init { initial_window_downstream_to_sidestream: 10 initial_window_sidestream_to_upstream: 4
                      initial_window_upstream_to_sidestream: 10 initial_window_sidestream_to_downstream: 10 })";

TEST_F(StreamTest, flow_control_init_is_answered_at_once_and_consumed_bytes_are_given_back) {
  send(with("request_headers {}", kWindows));
  expect_replies({"request_headers {} server_window_update {}"});
  send(R"(request_body { body: "abcdef" })");  // a whole message while the window is positive
  expect_replies({R"(request_body { response { body_mutation { streamed_response { body: "abcdef" } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 6 })"});
}

TEST_F(StreamTest, an_immediate_response_to_the_headers_answers_flow_control_init_too) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    extproc_reply reply{};
    reply.struct_size = sizeof(reply);
    reply.status = 200;
    reply.grpc_status = 7;
    plugin.api().reply(call, &reply);
    return EXTPROC_REPLY;
  };
  send(with("request_headers {}", kWindows));
  expect_replies(
      {R"(immediate_response { status { code: OK } grpc_status { status: 7 } } server_window_update {})"});
}

TEST_F(StreamTest, flow_control_init_with_a_body_is_answered_at_once) {
  send(with(R"(request_body { body: "abc" })", kWindows));
  expect_replies({"server_window_update {}",
                  R"(request_body { response { body_mutation { streamed_response { body: "abc" } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 3 })"});
}

TEST_F(StreamTest, what_passes_the_send_window_waits_for_an_update_and_keeps_its_order) {
  send(with("request_headers {}", kWindows));
  send(R"(request_body { body: "abcdef" })");
  sink_.replies.clear();
  send(R"(request_body { body: "gh" })");
  send("request_trailers {}");
  expect_replies({});
  send("client_window_update { window_increment_sidestream_to_upstream: 3 }");
  expect_replies({R"(request_body { response { body_mutation { streamed_response { body: "gh" } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 2 })",
                  "request_trailers {}"});
}

TEST_F(StreamTest, what_waits_for_window_goes_out_when_the_data_plane_half_closes) {
  send(with("request_headers {}", kWindows));
  send("response_headers {}");
  send(R"(response_body { body: "0123456789" })");
  sink_.replies.clear();
  send(R"(response_body { body: "ab" })");
  send(R"(response_body { body: "cd" })");
  send("response_trailers {}");
  expect_replies({});
  stream().half_closed();
  expect_replies({R"(response_body { response { body_mutation { streamed_response { body: "ab" } } } }
                     server_window_update { window_increment_upstream_to_sidestream: 2 })",
                  R"(response_body { response { body_mutation { streamed_response { body: "cd" } } } }
                     server_window_update { window_increment_upstream_to_sidestream: 2 })",
                  "response_trailers {}"});
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest, full_duplex_pieces_stay_below_the_window) {
  send(R"(request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED }
          flow_control_init { initial_window_downstream_to_sidestream: 100 initial_window_sidestream_to_upstream: 4 })");
  sink_.replies.clear();
  send(R"(request_body { body: "abcdef" end_of_stream: true })");
  expect_replies({R"(request_body { response { body_mutation { streamed_response { body: "abc" } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 3 })"});
  send("client_window_update { window_increment_sidestream_to_upstream: 10 }");
  expect_replies(
      {R"(request_body { response { body_mutation { streamed_response { body: "def" end_of_stream: true } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 3 })"});
}

TEST_F(StreamTest, a_peer_that_passes_its_window_or_overflows_it_ends_only_its_stream) {
  send(with("request_headers {}", kWindows));
  send(R"(request_body { body: "abcdef" })");
  send("client_window_update { window_increment_sidestream_to_upstream: -100 }");
  send(R"(request_body { body: "0123456789" })");  // held back: its bytes are not given back
  send(R"(request_body { body: "x" })");
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);

  stream_.reset();
  sink_ = {};
  send(with("request_headers {}", kWindows));
  send("client_window_update { window_increment_sidestream_to_upstream: 9223372036854775807 }");
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StreamTest, a_reply_to_a_grpc_data_plane_carries_value_as_well) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    plugin.api().header_set(call, phase, abi("x"), abi("1"));
    return EXTPROC_CONTINUE;
  };
  send(with("request_headers {}", kConfigGrpc));
  const auto& header =
      sink_.replies.at(0).request_headers().response().header_mutation().set_headers(0).header();
  EXPECT_EQ(header.value(), "1");
}

TEST_F(StreamTest, a_message_without_request_gets_no_reply) {
  send("client_window_update {}");
  send("");
  expect_replies({});
  EXPECT_FALSE(sink_.status);
}

TEST_F(StreamTest, bytes_that_are_no_request_end_the_stream_with_invalid_argument) {
  stream().receive(Message::copy("\xff\xff\xff"));
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(sink_.status->message().empty());
  stream().receive(Message::copy(""));
  stream().half_closed();
  expect_replies({});
}

TEST_F(StreamTest, messages_out_of_order_end_the_stream_with_invalid_argument) {
  for (const auto& [first, second] : std::vector<std::pair<std::string, std::string>>{
           {"request_headers {}", "request_headers {}"},
           {"request_body {}", "request_headers {}"},
           {"request_trailers {}", "request_body {}"},
           {"request_headers { end_of_stream: true }", "request_body {}"},
           {"response_body { end_of_stream: true }", "response_body {}"},
           {"response_trailers {}", "response_trailers {}"}}) {
    stream_.reset();
    sink_ = {};
    send(first);
    send(second);
    ASSERT_TRUE(sink_.status) << first << " then " << second;
    EXPECT_EQ(sink_.status->code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(sink_.replies.size(), 1U);
  }
}

TEST_F(StreamTest, observability_mode_never_replies_and_always_ends_with_ok) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    if (phase == EXTPROC_REQUEST_BODY) {
      plugin.api().fail(call, 13, abi("broken"));
      return EXTPROC_FAIL;
    }
    EXPECT_EQ(plugin.api().header_set(call, phase, abi("x"), abi("1")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {} observability_mode: true");
  EXPECT_FALSE(sink_.status);
  send("request_body {} observability_mode: true");
  expect_replies({});
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest, an_immediate_response_in_observability_mode_only_stops_the_chain) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  int later_calls = 0;
  add_plugin("q", {EXTPROC_REQUEST_HEADERS}).on_phase = [&](auto...) {
    ++later_calls;
    return EXTPROC_CONTINUE;
  };
  send("request_headers {} observability_mode: true");
  expect_replies({});
  EXPECT_EQ(later_calls, 0);
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest, nothing_is_sent_after_an_immediate_response) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    const extproc_header headers[] = {
        {abi("X-Why"), abi("no")}, {abi("set-cookie"), abi("a")}, {abi("set-cookie"), abi("b")}};
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.headers = headers;
    reply.headers_count = 3;
    reply.body = abi("denied\n");
    reply.details = abi("not_you");
    reply.grpc_status = 7;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  send("request_headers {}");
  expect_replies({R"(immediate_response {
      status { code: Forbidden }
      headers {
        set_headers { header { key: "x-why" raw_value: "no" } append { } append_action: OVERWRITE_IF_EXISTS_OR_ADD }
        set_headers { header { key: "set-cookie" raw_value: "a" } append { } append_action: OVERWRITE_IF_EXISTS_OR_ADD }
        set_headers { header { key: "set-cookie" raw_value: "b" } append { value: true } }
      }
      body: "denied\n" details: "not_you" grpc_status { status: 7 } })"});
  send("request_body {}");
  send("response_headers {}");
  expect_replies({});
  stream().half_closed();
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest,
       a_replaced_body_goes_out_with_continue_and_replace_and_the_rest_of_the_direction_is_not_answered) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    EXPECT_EQ(phase, EXTPROC_REQUEST_HEADERS);
    EXPECT_EQ(plugin.api().replace_body(call, abi("new")), EXTPROC_OK);
    EXPECT_EQ(plugin.api().header_set(call, phase, abi(":method"), abi("POST")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send(with("request_headers {}", kConfigBuffered));
  expect_replies({R"(request_headers { response {
      status: CONTINUE_AND_REPLACE
      header_mutation { set_headers { header { key: ":method" raw_value: "POST" } append { } append_action: OVERWRITE_IF_EXISTS_OR_ADD } }
      body_mutation { body: "new" } } })"});
  send("request_body { end_of_stream: true }");
  expect_replies({});
  send("response_headers {}");
  expect_replies({"response_headers {}"});
}

TEST_F(StreamTest, half_close_and_cancel_at_any_point_are_normal_ends) {
  std::vector<uint32_t> reasons;
  add_plugin("p", {EXTPROC_REQUEST_HEADERS}).on_end = [&](extproc_call*, const extproc_stream_end& end) {
    reasons.push_back(end.reason);
  };
  send("request_headers {}");
  stream().cancelled(Cancel::kPeer);
  stream_.reset();
  sink_ = {};
  send("request_headers {}");
  stream().half_closed();
  stream_.reset();
  sink_ = {};
  send("request_headers {}");
  stream().cancelled(Cancel::kShutdown);
  EXPECT_THAT(reasons,
              testing::ElementsAre(EXTPROC_END_CANCELLED, EXTPROC_END_COMPLETED, EXTPROC_END_SHUTDOWN));
}

TEST_F(StreamTest, a_stream_without_any_message_ends_well) {
  stream().half_closed();
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(StreamTest, body_that_waits_for_window_is_limited) {
  generation_->config.server.limits.max_held_bytes = 5000;
  send(R"(request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED }
          flow_control_init { initial_window_downstream_to_sidestream: 1000000 })");
  ProcessingRequest large;
  large.mutable_request_body()->set_body(std::string(4000, 'x'));
  send(large);
  send(large);  // one message more may always come: it has been received already
  EXPECT_FALSE(sink_.status);
  send(
      "client_window_update { window_increment_sidestream_to_upstream: 5001 }");  // the first goes, and a part
  send(large);
  EXPECT_FALSE(sink_.status);
  send(large);
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("server.limits.max_held_bytes"));
  EXPECT_EQ(value_of(*metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kHeldBytes)]), 1);
}

TEST_F(StreamTest, empty_bodies_that_wait_for_window_count_too) {
  generation_->config.server.limits.max_held_bytes = 5000;
  send(R"(request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED }
          flow_control_init { initial_window_downstream_to_sidestream: 1000000 })");
  send(R"(request_body { body: "x" })");
  int sent = 0;
  while (!sink_.status && ++sent < 1000) send("request_body {}");
  EXPECT_LT(sent, 1000);
}

TEST_F(StreamTest, more_attributes_than_the_limit_end_the_stream) {
  add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY});
  generation_->config.server.limits.max_headers = 2;
  ProcessingRequest many;
  many.mutable_request_headers();
  for (int i = 0; i < 3; ++i) (*many.mutable_attributes())[std::to_string(i)];
  send(many);
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);

  stream_.reset();
  sink_ = {};
  send("request_headers {}");
  for (int i = 0; i < 100 && !sink_.status; ++i) {
    ProcessingRequest request;
    request.mutable_request_body();
    auto& fields = *(*request.mutable_attributes())["envoy.filters.http.ext_proc"].mutable_fields();
    fields[std::to_string(i)].set_string_value(std::string(100000, 'x'));
    send(request);
  }
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(value_of(*metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kAttributes)]), 2);
}

TEST_F(StreamTest, a_limit_of_the_first_message_ends_an_observed_stream_with_ok) {
  generation_->config.server.limits.max_headers = 2;
  ProcessingRequest many;
  many.mutable_request_headers();
  many.set_observability_mode(true);
  for (int i = 0; i < 3; ++i) (*many.mutable_attributes())[std::to_string(i)];
  send(many);
  ASSERT_TRUE(sink_.status);
  EXPECT_TRUE(sink_.status->ok()) << *sink_.status;
  EXPECT_EQ(value_of(*metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kAttributes)]), 1);
}

TEST_F(StreamTest, limits_end_the_stream_with_resource_exhausted_and_count) {
  generation_->config.server.limits.max_headers = 2;
  generation_->config.server.limits.max_message_size = 100;
  send(R"(request_headers { headers { headers { key: "a" } headers { key: "b" } headers { key: "c" } } })");
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("server.limits.max_headers"));
  stream_.reset();
  sink_ = {};
  stream().receive(Message::copy(std::string(101, 'x')));
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("server.limits.max_message_size"));
}

TEST_F(StreamTest, a_stream_whose_message_comes_from_within_another_ones_gets_the_right_reply) {
  Stream other(generation_, sink_, {}, 43);
  const std::string message = [] {
    ProcessingRequest request;
    request.mutable_response_headers();
    return request.SerializeAsString();
  }();
  add_plugin("nests", {EXTPROC_REQUEST_BODY}).on_phase = [&](extproc_call*, uint32_t, uint32_t) {
    if (sink_.replies.empty()) other.receive(Message::borrow(message));
    return EXTPROC_CONTINUE;
  };
  send(with(R"(request_body { body: "abc" end_of_stream: true })", kConfigDuplex));
  expect_replies(
      {"response_headers {}",
       R"(request_body { response { body_mutation { streamed_response { body: "abc" end_of_stream: true } } } })"});
}

TEST_F(StreamTest, headers_of_all_maps_stay_readable_to_the_end_of_the_stream) {
  std::string seen;
  ScriptedPlugin& plugin =
      add_plugin("reads", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_TRAILERS, EXTPROC_RESPONSE_HEADERS});
  plugin.on_end = [&](extproc_call* call, const extproc_stream_end&) {
    for (const uint32_t map : {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_TRAILERS, EXTPROC_RESPONSE_HEADERS}) {
      const extproc_header* entries = nullptr;
      size_t count = 0;
      ASSERT_EQ(plugin.api().headers(call, map, &entries, &count), EXTPROC_OK);
      for (size_t i = 0; i < count; ++i) {
        seen +=
            std::string(entries[i].name.data, entries[i].name.size) + "=" +
            (entries[i].value.size == 0 ? "" : std::string(entries[i].value.data, entries[i].value.size)) +
            ";";
      }
    }
  };
  send(R"(request_headers { headers { headers { key: ":path" raw_value: "/a" } headers { key: "Empty" }
                                      headers { key: "" raw_value: "x" } headers { key: "V" value: "old" } } })");
  send(R"(request_trailers { trailers { headers { key: "t" raw_value: "1" } } })");
  send("response_headers {}");
  sink_.replies.clear();
  stream().half_closed();
  EXPECT_EQ(seen, ":path=/a;empty=;=x;v=old;t=1;");
}

TEST_F(StreamTest, ten_thousand_chunks_get_ten_thousand_replies) {
  send("request_headers {} protocol_config { request_body_mode: STREAMED }");
  for (int i = 0; i < 10000; ++i) send(R"(request_body { body: "x" })");
  send("request_trailers {}");
  ASSERT_EQ(sink_.replies.size(), 10002U);
  for (int i = 1; i <= 10000; ++i) ASSERT_TRUE(sink_.replies[static_cast<std::size_t>(i)].has_request_body());
  EXPECT_TRUE(sink_.replies.back().has_request_trailers());
}

TEST_F(StreamTest, request_headers_stay_readable_in_the_response_phase_and_raw_value_wins) {
  std::string seen;
  auto& plugin = add_plugin("p", {EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    extproc_str value{};
    for (const auto* name : {":path", "x-text"}) {
      EXPECT_EQ(plugin.api().header_get(call, EXTPROC_REQUEST_HEADERS, abi(name), &value), EXTPROC_OK);
      seen += std::string(value.data, value.size) + ";";
    }
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("x"), abi("1")), EXTPROC_TOO_LATE);
    return EXTPROC_CONTINUE;
  };
  send(
      R"(request_headers { headers { headers { key: ":path" raw_value: "/a" } headers { key: "x-text" value: "t" } } })");
  send("response_headers {}");
  EXPECT_EQ(seen, "/a;t;");
}

}  // namespace
}  // namespace extprocd::engine
