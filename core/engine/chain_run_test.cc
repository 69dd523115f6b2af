#include "core/engine/chain_run.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"
#include "core/http/utf8.h"

namespace extprocd::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ChainRunTest : public EngineFixture {
 protected:
  static extproc_action deny(ScriptedPlugin& plugin, extproc_call* call) {
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  }

  static std::string reason(ScriptedPlugin& plugin, extproc_call* call) {
    const extproc_str text = plugin.api().last_error(call);
    return {text.data, text.size};
  }
};

constexpr auto* kSetX1 = R"(header_mutation {
    set_headers { header { key: "x" raw_value: "1" } append { } append_action: OVERWRITE_IF_EXISTS_OR_ADD } })";

TEST_F(ChainRunTest, requests_run_in_order_and_responses_in_reverse) {
  std::vector<std::string> order;
  for (const std::string name : {"a", "b", "c"}) {
    add_plugin(name, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS}).on_phase = [&order, name](auto...) {
      order.push_back(name);
      return EXTPROC_CONTINUE;
    };
  }
  send("request_headers {}");
  send("response_headers {}");
  EXPECT_THAT(order, ElementsAre("a", "b", "c", "c", "b", "a"));
}

TEST_F(ChainRunTest, later_plugins_see_earlier_changes_and_the_net_difference_is_sent) {
  auto& first = add_plugin("first", {EXTPROC_REQUEST_HEADERS});
  first.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    first.api().header_set(call, phase, abi("x"), abi("1"));
    first.api().header_set(call, phase, abi("gone"), abi("1"));
    return EXTPROC_CONTINUE;
  };
  std::string seen;
  auto& second = add_plugin("second", {EXTPROC_REQUEST_HEADERS});
  second.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    extproc_str value{};
    second.api().header_get(call, phase, abi("X"), &value);
    seen = std::string(value.data, value.size);
    second.api().header_set(call, phase, abi("gone"), abi("0"));
    return EXTPROC_CONTINUE;
  };
  send(R"(request_headers { headers { headers { key: "gone" raw_value: "0" } } })");
  EXPECT_EQ(seen, "1");
  expect_replies({"request_headers { response { " + std::string(kSetX1) + " } }"});
}

TEST_F(ChainRunTest, a_phase_that_a_plugin_did_not_ask_for_never_reaches_it) {
  add_plugin("p", {EXTPROC_RESPONSE_HEADERS}).on_phase = [](extproc_call*, uint32_t phase, uint32_t) {
    EXPECT_EQ(phase, EXTPROC_RESPONSE_HEADERS);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  send("request_body {}");
  send("response_headers {}");
  expect_replies({"request_headers {}", "request_body {}", "response_headers {}"});
}

TEST_F(ChainRunTest, what_the_data_plane_would_refuse_is_refused_at_the_call_with_a_reason) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    const auto& api = plugin.api();
    EXPECT_EQ(api.header_set(call, phase, abi("host"), abi("a")), EXTPROC_FORBIDDEN);
    EXPECT_THAT(reason(plugin, call), HasSubstr("allow_all_routing"));
    EXPECT_EQ(api.header_set(call, phase, abi("X-Envoy-Retry-On"), abi("a")), EXTPROC_FORBIDDEN);
    EXPECT_EQ(api.header_set(call, phase, abi("bad name"), abi("a")), EXTPROC_INVALID);
    EXPECT_THAT(reason(plugin, call), HasSubstr("bad name"));
    EXPECT_EQ(api.header_set(call, phase, abi("x"), abi("a\nb")), EXTPROC_INVALID);
    EXPECT_EQ(api.header_remove(call, phase, abi(":path")), EXTPROC_FORBIDDEN);
    EXPECT_EQ(api.header_add(call, phase, abi(":path"), abi("/")), EXTPROC_FORBIDDEN);
    EXPECT_EQ(api.header_set(call, EXTPROC_RESPONSE_HEADERS, abi("x"), abi("a")), EXTPROC_NOT_FOUND);
    EXPECT_EQ(api.header_set(call, EXTPROC_REQUEST_BODY, abi("x"), abi("a")), EXTPROC_INVALID);
    EXPECT_EQ(api.header_set(call, 99, abi("x"), abi("a")), EXTPROC_INVALID);
    EXPECT_EQ(api.header_set(call, phase, extproc_str{nullptr, 5}, abi("a")), EXTPROC_INVALID);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  expect_replies({"request_headers {}"});
  const auto& refused = plugin.host->metrics().refused;
  EXPECT_EQ(refused[static_cast<std::size_t>(telemetry::Refusal::kForbidden)]->value(), 4);
  EXPECT_EQ(refused[static_cast<std::size_t>(telemetry::Refusal::kInvalid)]->value(), 5);
}

TEST_F(ChainRunTest, what_fails_the_stream_of_a_grpc_data_plane_is_refused_there) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  bool grpc = false;
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    const auto& api = plugin.api();
    const extproc_status wanted = grpc ? EXTPROC_FORBIDDEN : EXTPROC_OK;
    EXPECT_EQ(api.header_set(call, phase, abi(":path"), abi("/b")), wanted);
    EXPECT_EQ(api.header_set(call, phase, abi("Grpc-Timeout"), abi("1S")), wanted);
    EXPECT_EQ(api.header_add(call, phase, abi("grpc-tags-bin"), abi("1")), wanted);
    EXPECT_EQ(api.header_remove(call, phase, abi("grpc-timeout")), wanted);
    EXPECT_EQ(api.header_set(call, phase, abi("grpc"), abi("1")), EXTPROC_OK);
    const extproc_header header = {abi("grpc-message"), abi("no")};
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.headers = &header;
    reply.headers_count = 1;
    EXPECT_EQ(api.reply(call, &reply), wanted);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {} protocol_config { request_body_mode: STREAMED }");
  for (const std::string known_by :
       {"protocol_config { response_body_mode: GRPC }", "flow_control_init {}"}) {
    grpc = true;
    stream_.reset();
    sink_ = {};
    send("request_headers {} " + known_by);
    EXPECT_FALSE(sink_.status);
  }
}

TEST_F(ChainRunTest, a_map_cannot_grow_past_what_the_data_plane_takes) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(plugin.api().header_set(call, phase, abi("x-" + std::to_string(i)), abi("v")), EXTPROC_OK)
          << i;
    }
    EXPECT_EQ(plugin.api().header_set(call, phase, abi("one-more"), abi("v")), EXTPROC_LIMIT);
    EXPECT_EQ(plugin.api().header_add(call, phase, abi("x-1"), abi("v")), EXTPROC_LIMIT);
    EXPECT_EQ(plugin.api().header_set(call, phase, abi("x-1"), abi("w")), EXTPROC_OK);
    const std::string large(16000, 'x');
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(plugin.api().header_set(call, phase, abi("x-" + std::to_string(i)), abi(large)), EXTPROC_OK);
    }
    EXPECT_EQ(plugin.api().header_set(call, phase, abi("x-4"), abi(large)), EXTPROC_LIMIT);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
}

TEST_F(ChainRunTest, policy_fail_ends_the_stream_with_the_plugins_code_and_text) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    plugin.api().fail(call, 14, abi("back end \xff away"));
    return EXTPROC_FAIL;
  };
  send("request_headers {}");
  expect_replies({});
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sink_.status->message(), "back end \xEF\xBF\xBD away");
}

TEST_F(ChainRunTest, a_failure_text_is_cut_at_one_kib_and_a_bad_code_is_unknown) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    plugin.api().fail(call, 99, abi("x" + std::string(5000, '\xff')));
    return EXTPROC_FAIL;
  };
  send("request_headers {}");
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(sink_.status->message().size(), 1024U);
  EXPECT_TRUE(http::is_utf8(std::string(sink_.status->message())));
}

TEST_F(ChainRunTest, policy_skip_undoes_the_plugins_changes_and_leaves_it_out) {
  auto& first = add_plugin("first", {EXTPROC_REQUEST_HEADERS});
  first.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    first.api().header_set(call, phase, abi("x"), abi("1"));
    return EXTPROC_CONTINUE;
  };
  auto& broken =
      add_plugin("broken", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS}, config::FailurePolicy::kSkip);
  int calls = 0;
  broken.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    ++calls;
    const auto* metadata = static_cast<const extproc_metadata_api*>(
        broken.api().get_extension(broken.host->table(), EXTPROC_METADATA_1));
    broken.api().header_set(call, phase, abi("x"), abi("2"));
    broken.api().header_remove(call, phase, abi("keep"));
    metadata->set_string(call, abi("ns"), abi("k"), abi("v"));
    broken.api().clear_route_cache(call);
    broken.api().replace_body(call, abi("bad"));
    throw std::runtime_error("boom");
  };
  send(R"(request_headers { headers { headers { key: "keep" raw_value: "0" } } })");
  send("response_headers {}");
  expect_replies({"request_headers { response { " + std::string(kSetX1) + " } }", "response_headers {}"});
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(broken.host->metrics().failures[static_cast<std::size_t>(config::FailurePolicy::kSkip)]->value(),
            1);
}

TEST_F(ChainRunTest, policy_deny_sends_an_immediate_response_while_one_can_go_out) {
  add_plugin("p", {EXTPROC_REQUEST_HEADERS}, config::FailurePolicy::kDeny).on_phase =
      [](extproc_call*, uint32_t, uint32_t) -> extproc_action { throw 1; };
  send("request_headers {}");
  expect_replies(
      {R"(immediate_response { status { code: ServiceUnavailable } details: "extproc_p_failed" })"});
}

TEST_F(ChainRunTest, policy_deny_acts_as_fail_once_the_response_is_on_its_way) {
  add_plugin("p", {EXTPROC_RESPONSE_BODY}, config::FailurePolicy::kDeny).on_phase = [](auto...) {
    return EXTPROC_FAIL;
  };
  send("response_headers {} protocol_config { response_body_mode: STREAMED }");
  send("response_body {}");
  expect_replies({"response_headers {}"});
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kUnknown);
}

TEST_F(ChainRunTest, a_reply_to_a_buffered_response_body_is_possible_while_its_headers_are_held) {
  auto& plugin = add_plugin("p", {EXTPROC_RESPONSE_BODY});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) { return deny(plugin, call); };
  send("response_headers {} protocol_config { response_body_mode: BUFFERED }");
  send("response_body {}");
  ASSERT_EQ(sink_.replies.size(), 2U);
  EXPECT_TRUE(sink_.replies[1].has_immediate_response());
}

TEST_F(ChainRunTest, an_unknown_action_and_a_reply_without_reply_are_failures) {
  for (const extproc_action action : {77U, EXTPROC_REPLY}) {
    begin_anew();
    add_plugin("p", {EXTPROC_REQUEST_HEADERS}).on_phase = [action](auto...) { return action; };
    send("request_headers {}");
    EXPECT_EQ(sink_.status->code(), absl::StatusCode::kUnknown);
  }
}

TEST_F(ChainRunTest, on_local_reply_goes_in_reverse_to_those_that_had_begun_but_not_to_the_one_that_replied) {
  std::vector<std::string> order;
  for (const std::string name : {"a", "b"}) {
    auto& plugin = add_plugin(name, {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY});
    plugin.on_phase = [&order, &plugin, name](extproc_call* call, uint32_t phase, uint32_t) {
      if (phase == EXTPROC_LOCAL_REPLY) {
        order.push_back(name);
        EXPECT_EQ(plugin.api().header_set(call, phase, abi("x-" + name), abi("1")), EXTPROC_OK);
      }
      return EXTPROC_CONTINUE;
    };
  }
  auto& denier = add_plugin("denier", {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY});
  denier.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    EXPECT_NE(phase, EXTPROC_LOCAL_REPLY);
    return deny(denier, call);
  };
  add_plugin("never_begun", {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY}).on_phase = [&](auto...) {
    order.push_back("never_begun");
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  EXPECT_THAT(order, ElementsAre("b", "a"));
  ASSERT_EQ(sink_.replies.size(), 1U);
  EXPECT_EQ(sink_.replies[0].immediate_response().headers().set_headers_size(), 2);
}

TEST_F(ChainRunTest, a_fault_in_on_local_reply_does_not_lose_the_reply) {
  add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY}).on_phase = [](extproc_call*, uint32_t phase,
                                                                                uint32_t) {
    if (phase == EXTPROC_LOCAL_REPLY) throw std::runtime_error("boom");
    return EXTPROC_CONTINUE;
  };
  auto& denier = add_plugin("denier", {EXTPROC_REQUEST_HEADERS});
  denier.on_phase = [&](extproc_call* call, uint32_t, uint32_t) { return deny(denier, call); };
  send("request_headers {}");
  expect_replies({"immediate_response { status { code: Forbidden } }"});
}

TEST_F(ChainRunTest, begin_comes_just_before_the_first_callback_and_end_once_and_last) {
  std::vector<std::string> events;
  auto& plugin = add_plugin("p", {EXTPROC_RESPONSE_HEADERS});
  plugin.on_begin = [&](extproc_call* call) {
    events.push_back("begin");
    const extproc_stream_facts& facts = *plugin.api().facts(call);
    EXPECT_EQ(facts.id, 42U);
    EXPECT_EQ(facts.response_body_mode, EXTPROC_BODY_STREAMED);
    EXPECT_EQ(facts.metadata_count, 1U);
    EXPECT_EQ(std::string(facts.metadata[0].value.data, facts.metadata[0].value.size), "acme");
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_RESPONSE_HEADERS, abi("x"), abi("1")), EXTPROC_TOO_LATE);
    return EXTPROC_CONTINUE;
  };
  plugin.on_phase = [&](auto...) {
    events.push_back("phase");
    return EXTPROC_FINISH;
  };
  plugin.on_end = [&](extproc_call* call, const extproc_stream_end& end) {
    events.push_back("end");
    EXPECT_EQ(end.response_status, 204U);
    EXPECT_EQ(end.reason, EXTPROC_END_COMPLETED);
    extproc_str value{};
    EXPECT_EQ(plugin.api().header_get(call, EXTPROC_RESPONSE_HEADERS, abi(":status"), &value), EXTPROC_OK);
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_RESPONSE_HEADERS, abi("x"), abi("1")), EXTPROC_TOO_LATE);
  };
  add_plugin("never", {EXTPROC_REQUEST_BODY}).on_end = [&](auto...) {
    events.push_back("end of one that never began");
  };
  send("request_headers {} protocol_config { response_body_mode: STREAMED }");
  EXPECT_TRUE(events.empty());
  send(R"(response_headers { headers { headers { key: ":status" raw_value: "204" } } })");
  stream().half_closed();
  stream_.reset();
  EXPECT_THAT(events, ElementsAre("begin", "phase", "end"));
}

TEST_F(ChainRunTest, a_plugin_whose_begin_fails_falls_under_its_policy_and_gets_no_end) {
  auto& plugin =
      add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS}, config::FailurePolicy::kSkip);
  int begins = 0;
  plugin.on_begin = [&](extproc_call*) -> extproc_action {
    ++begins;
    throw std::runtime_error("no");
  };
  plugin.on_end = [](auto...) { FAIL(); };
  plugin.on_phase = [](auto...) -> extproc_action {
    ADD_FAILURE();
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  send("response_headers {}");
  expect_replies({"request_headers {}", "response_headers {}"});
  stream().half_closed();
  EXPECT_EQ(begins, 1);
}

TEST_F(ChainRunTest, metadata_attributes_store_and_dynamic_metadata_reach_and_leave_plugins) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    const auto* metadata = static_cast<const extproc_metadata_api*>(
        plugin.api().get_extension(plugin.host->table(), EXTPROC_METADATA_1));
    const auto* store = static_cast<const extproc_store_api*>(
        plugin.api().get_extension(plugin.host->table(), EXTPROC_STORE_1));
    extproc_str value{};
    if (phase == EXTPROC_REQUEST_HEADERS) {
      EXPECT_EQ(metadata->attribute(call, abi("xds.route_name"), &value), EXTPROC_OK);
      EXPECT_EQ(std::string(value.data, value.size), "r1");
      EXPECT_EQ(metadata->metadata(call, abi("io.x"), abi("user"), &value), EXTPROC_OK);
      EXPECT_EQ(std::string(value.data, value.size), "ann");
      EXPECT_EQ(metadata->attribute(call, abi("none"), &value), EXTPROC_NOT_FOUND);
      EXPECT_EQ(store->set(call, abi("k"), abi("v")), EXTPROC_OK);
      EXPECT_EQ(metadata->set_number(call, abi("ns"), abi("n"), 2), EXTPROC_OK);
    } else {
      EXPECT_EQ(store->get(call, abi("k"), &value), EXTPROC_OK);
      EXPECT_EQ(std::string(value.data, value.size), "v");
    }
    return EXTPROC_CONTINUE;
  };
  send(R"(request_headers {}
    attributes { key: "envoy.filters.http.ext_proc" value { fields { key: "xds.route_name" value { string_value: "r1" } } } }
    metadata_context { filter_metadata { key: "io.x" value { fields { key: "user" value { string_value: "ann" } } } } })");
  send("response_headers {}");
  expect_replies({R"(request_headers {} dynamic_metadata { fields { key: "ns" value { struct_value {
                       fields { key: "n" value { number_value: 2 } } } } } })",
                  "response_headers {}"});
}

TEST_F(ChainRunTest, clear_route_cache_goes_with_the_request_headers_reply) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    if (phase == EXTPROC_REQUEST_HEADERS) {
      plugin.api().header_set(call, phase, abi("x"), abi("1"));
      EXPECT_EQ(plugin.api().clear_route_cache(call), EXTPROC_OK);
    } else {
      EXPECT_EQ(plugin.api().clear_route_cache(call), EXTPROC_UNSUPPORTED);
    }
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  send("response_headers {}");
  expect_replies({"request_headers { response { " + std::string(kSetX1) + " clear_route_cache: true } }",
                  "response_headers {}"});
}

TEST_F(ChainRunTest, a_body_observer_sees_the_bytes_and_only_the_bytes) {
  std::string seen;
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_BODY});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t flags) {
    const extproc_str* slices = nullptr;
    size_t count = 0;
    EXPECT_EQ(plugin.api().body(call, &slices, &count), EXTPROC_OK);
    for (size_t i = 0; i < count; ++i) seen.append(slices[i].data, slices[i].size);
    if ((flags & EXTPROC_END_OF_STREAM) != 0) seen += "$";
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  send(R"(request_body { body: "ab" })");
  send(R"(request_body { body: "c" end_of_stream: true })");
  EXPECT_EQ(seen, "abc$");
  expect_replies({"request_headers {}", "request_body {}", "request_body {}"});
}

}  // namespace
}  // namespace extprocd::engine
