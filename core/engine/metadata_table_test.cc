// What plugins read and set through extproc.metadata/2.

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<uint32_t> kAllPhases = {EXTPROC_REQUEST_HEADERS,  EXTPROC_REQUEST_BODY,
                                          EXTPROC_REQUEST_TRAILERS, EXTPROC_RESPONSE_HEADERS,
                                          EXTPROC_RESPONSE_BODY,    EXTPROC_RESPONSE_TRAILERS};

class MetadataTableTest : public EngineFixture {
 protected:
  static const extproc_metadata_api_2& table(const ScriptedPlugin& plugin) {
    const void* found = plugin.api().get_extension(plugin.host->table(), EXTPROC_METADATA_2);
    EXPECT_NE(found, nullptr);
    return *static_cast<const extproc_metadata_api_2*>(found);
  }

  static std::string reason(const ScriptedPlugin& plugin, extproc_call* call) {
    return text(plugin.api().last_error(call));
  }
  static std::string text(extproc_str view) {
    return view.size == 0 ? std::string() : std::string(view.data, view.size);
  }

  const google::protobuf::LogSilencer silencer_;  // of the types of Any, which need not exist

  /// The whole of a value, as a plugin can see it.
  static std::string shown(const extproc_metadata_api_2& api, const extproc_value* value) {
    uint32_t flag = 0;
    double number = 0;
    extproc_str string{};
    std::string all = std::to_string(api.type(value));
    if (api.get_bool(value, &flag) == EXTPROC_OK) all += flag != 0 ? " true" : " false";
    if (api.get_number(value, &number) == EXTPROC_OK) all += " " + std::to_string(number);
    if (api.get_string(value, &string) == EXTPROC_OK) all += " '" + text(string) + "'";
    for (std::size_t i = 0; i < api.size(value); ++i) {
      extproc_str key = abi("unset");
      const extproc_value* entry = api.at(value, i, &key);
      all += (i == 0 ? " (" : ", ") + text(key) + ":" + shown(api, entry);
    }
    return all + (api.size(value) > 0 ? ")" : "");
  }
};

TEST_F(MetadataTableTest, attributes_and_metadata_are_values_of_their_types) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  const auto& api = table(plugin);
  std::vector<std::string> seen;
  const auto attribute = [&](extproc_call* call, const char* name) {
    const extproc_value* value = nullptr;
    if (api.attribute(call, abi(name), &value) == EXTPROC_OK) seen.push_back(shown(api, value));
  };
  const auto metadata = [&](extproc_call* call, const char* name_space, const char* key) {
    const extproc_value* value = nullptr;
    if (api.metadata(call, abi(name_space), abi(key), &value) == EXTPROC_OK)
      seen.push_back(shown(api, value));
  };
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    seen.clear();
    for (const char* name : {"request.size", "connection.mtls", "request.path", "nothing", "absent"})
      attribute(call, name);
    metadata(call, "io.x", "roles");
    metadata(call, "io.x", "dotted.key");
    metadata(call, "io.x", "absent");
    metadata(call, "absent", "");
    metadata(call, "absent", "roles");
    metadata(call, phase == EXTPROC_REQUEST_HEADERS ? "io.x" : "io.y", "");
    return EXTPROC_CONTINUE;
  };
  const std::string metadata_context = R"(metadata_context { filter_metadata { key: "io.x" value {
      fields { key: "roles" value { list_value { values { string_value: "admin" } values { bool_value: true } } } }
      fields { key: "dotted.key" value { null_value: NULL_VALUE } } } } filter_metadata { key: "io.y" } })";
  send(R"(request_headers {} attributes { key: "envoy.filters.http.ext_proc" value {
      fields { key: "request.size" value { number_value: 12.5 } }
      fields { key: "connection.mtls" value { bool_value: false } }
      fields { key: "request.path" value { string_value: "/a" } }
      fields { key: "nothing" value {} } } })" +
       metadata_context);
  EXPECT_THAT(seen, ElementsAre("2 12.500000", "1 false", "3 '/a'", "0", "4 (:3 'admin', :1 true)", "0",
                                "5 (dotted.key:0, roles:4 (:3 'admin', :1 true))"));
  send("response_headers {}" + metadata_context);
  EXPECT_THAT(seen,
              ElementsAre("2 12.500000", "1 false", "3 '/a'", "0", "4 (:3 'admin', :1 true)", "0", "5"));
}

TEST_F(MetadataTableTest, a_value_is_walked_by_key_and_a_null_pointer_is_a_null_value) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  const auto& api = table(plugin);
  bool ran = false;
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    ran = true;
    const extproc_value* value = nullptr;
    EXPECT_EQ(api.metadata(call, abi("ns"), abi(""), &value), EXTPROC_OK);
    EXPECT_EQ(shown(api, api.find(api.find(value, abi("a")), abi("b"))), "3 'deep'");
    EXPECT_EQ(api.find(api.find(value, abi("x")), abi("b")), nullptr);
    EXPECT_EQ(api.find(value, extproc_str{nullptr, 3}), nullptr);
    EXPECT_EQ(api.at(value, 1, nullptr), nullptr);
    EXPECT_NE(api.at(value, 0, nullptr), nullptr);
    EXPECT_EQ(api.at(nullptr, 0, nullptr), nullptr);
    EXPECT_EQ(shown(api, nullptr), "0");
    EXPECT_EQ(api.get_string(value, nullptr), EXTPROC_INVALID);
    EXPECT_EQ(api.attribute(call, abi("a"), nullptr), EXTPROC_INVALID);
    EXPECT_EQ(api.metadata(call, abi("ns"), abi(""), nullptr), EXTPROC_INVALID);
    return EXTPROC_CONTINUE;
  };
  send(R"(request_headers {} metadata_context { filter_metadata { key: "ns" value { fields { key: "a" value {
      struct_value { fields { key: "b" value { string_value: "deep" } } } } } } } })");
  EXPECT_TRUE(ran);
}

TEST_F(MetadataTableTest, typed_metadata_comes_as_type_and_bytes) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  const auto& api = table(plugin);
  bool ran = false;
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    ran = true;
    extproc_str type_url{};
    extproc_str message{};
    EXPECT_EQ(api.typed_metadata(call, abi("ns"), &type_url, &message), EXTPROC_OK);
    EXPECT_EQ(text(type_url), "type.googleapis.com/a.B");
    EXPECT_EQ(text(message), std::string("\0\xFF", 2));
    EXPECT_EQ(api.typed_metadata(call, abi("other"), &type_url, &message), EXTPROC_NOT_FOUND);
    EXPECT_EQ(api.typed_metadata(call, abi("ns"), nullptr, &message), EXTPROC_INVALID);
    EXPECT_EQ(api.typed_metadata(call, abi("ns"), &type_url, nullptr), EXTPROC_INVALID);
    return EXTPROC_CONTINUE;
  };
  send(R"(request_headers {} metadata_context { typed_filter_metadata { key: "ns" value {
      type_url: "type.googleapis.com/a.B" value: "\000\377" } } })");
  EXPECT_TRUE(ran);
}

TEST_F(MetadataTableTest, what_is_set_goes_out_once_with_the_reply_of_its_phase) {
  auto& plugin = add_plugin("p", kAllPhases);
  const auto& api = table(plugin);
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("phase"), abi("[" + std::to_string(phase) + "]")),
              EXTPROC_OK);
    EXPECT_EQ(api.set_typed(call, abi("typed"), abi("t/u"), abi(std::to_string(phase))), EXTPROC_OK);
    if (phase != EXTPROC_RESPONSE_TRAILERS) return EXTPROC_CONTINUE;
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_TOO_LATE);
    return EXTPROC_CONTINUE;
  };
  const auto with = [](const std::string& reply, int phase) {
    const std::string number = std::to_string(phase);
    return reply + R"( dynamic_metadata { fields { key: "ns" value { struct_value { fields { key: "phase"
        value { list_value { values { number_value: )" +
           number + R"( } } } } } } } }
        typed_dynamic_metadata { key: "typed" value { type_url: "t/u" value: ")" +
           number + "\" } }";
  };
  send(
      "request_headers {} protocol_config { request_body_mode: STREAMED response_body_mode: "
      "FULL_DUPLEX_STREAMED }");
  send("request_body {}");
  send("request_trailers {}");
  send("response_headers {}");
  send(R"(response_body { body: "b" })");
  send("response_trailers {}");
  expect_replies({with("request_headers {}", EXTPROC_REQUEST_HEADERS),
                  with("request_body {}", EXTPROC_REQUEST_BODY),
                  with("request_trailers {}", EXTPROC_REQUEST_TRAILERS),
                  with("response_headers {}", EXTPROC_RESPONSE_HEADERS),
                  with("response_body { response { body_mutation { streamed_response { body: \"b\" } } } }",
                       EXTPROC_RESPONSE_BODY),
                  with("response_trailers {}", EXTPROC_RESPONSE_TRAILERS)});
}

TEST_F(MetadataTableTest, what_is_set_goes_out_with_an_immediate_response_too) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  auto& other = add_plugin("other", {EXTPROC_REQUEST_HEADERS, EXTPROC_LOCAL_REPLY});
  const auto& api = table(plugin);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("why"), abi(R"({"denied": true})")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  other.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("t/u"), abi("m")), EXTPROC_OK);
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(other.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  send("request_headers {}");
  expect_replies({R"(immediate_response { status { code: Forbidden } }
      dynamic_metadata { fields { key: "ns" value { struct_value { fields { key: "why" value { struct_value {
        fields { key: "denied" value { bool_value: true } } } } } } } } }
      typed_dynamic_metadata { key: "ns" value { type_url: "t/u" value: "m" } })"});
}

TEST_F(MetadataTableTest, what_is_set_waits_for_window_together_with_its_body) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_BODY});
  const auto& api = table(plugin);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("k"), abi("null")), EXTPROC_OK);
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("t/u"), abi("m")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send(R"(request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED }
          flow_control_init { initial_window_downstream_to_sidestream: 100 initial_window_sidestream_to_upstream: 1 })");
  sink_.replies.clear();
  send(R"(request_body { body: "ab" })");
  expect_replies({});
  send("client_window_update { window_increment_sidestream_to_upstream: 1 }");
  send("client_window_update { window_increment_sidestream_to_upstream: 10 }");
  expect_replies({R"(request_body { response { body_mutation { streamed_response { body: "a" } } } }
      dynamic_metadata { fields { key: "ns" value { struct_value { fields { key: "k" value { null_value: NULL_VALUE } } } } } }
      typed_dynamic_metadata { key: "ns" value { type_url: "t/u" value: "m" } }
      server_window_update { window_increment_downstream_to_sidestream: 1 })",
                  R"(request_body { response { body_mutation { streamed_response { body: "b" } } } }
      server_window_update { window_increment_downstream_to_sidestream: 1 })"});
}

TEST_F(MetadataTableTest, what_a_later_plugin_takes_back_does_not_go_out) {
  auto& first = add_plugin("first", {EXTPROC_REQUEST_HEADERS});
  auto& second = add_plugin("second", {EXTPROC_REQUEST_HEADERS});
  const auto& api = table(first);
  first.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    for (const char* key : {"a", "b"}) {
      EXPECT_EQ(api.set_json(call, abi("one"), abi(key), abi("1")), EXTPROC_OK);
      EXPECT_EQ(api.set_json(call, abi("two"), abi(key), abi("1")), EXTPROC_OK);
    }
    EXPECT_EQ(api.set_typed(call, abi("two"), abi("t/u"), abi("m")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  second.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.remove(call, abi("one"), abi("a")), EXTPROC_OK);
    EXPECT_EQ(api.remove(call, abi("one"), abi("a")), EXTPROC_NOT_FOUND);
    EXPECT_EQ(reason(second, call), "");
    EXPECT_EQ(api.remove(call, abi("two"), abi("")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  expect_replies({R"(request_headers {} dynamic_metadata { fields { key: "one" value { struct_value {
      fields { key: "b" value { number_value: 1 } } } } } })"});
}

TEST_F(MetadataTableTest, refusals_change_nothing_and_say_why) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  const auto& api = table(plugin);
  const auto* revision_1 = static_cast<const extproc_metadata_api*>(
      plugin.api().get_extension(plugin.host->table(), EXTPROC_METADATA_1));
  const std::string large(65536, 'x');
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    const auto json = [&](std::string_view text) {
      return api.set_json(call, abi("ns"), abi("k"), abi(text));
    };
    EXPECT_EQ(json("[1,]"), EXTPROC_INVALID);
    EXPECT_EQ(reason(plugin, call), "not valid JSON: syntax error at byte 3");
    EXPECT_EQ(json(""), EXTPROC_INVALID);
    EXPECT_EQ(json("\"\xFF\""), EXTPROC_INVALID);
    EXPECT_EQ(json(std::string(30, '[') + std::string(30, ']')), EXTPROC_OK);
    EXPECT_EQ(api.remove(call, abi("ns"), abi("k")), EXTPROC_OK);
    EXPECT_EQ(json(std::string(31, '[') + std::string(31, ']')), EXTPROC_LIMIT);
    EXPECT_THAT(reason(plugin, call), HasSubstr("nested deeper than 30 at byte 3"));
    EXPECT_EQ(api.set_json(call, abi(""), abi("k"), abi("1")), EXTPROC_INVALID);
    EXPECT_EQ(reason(plugin, call), "the namespace is empty");
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("\xFF"), abi("1")), EXTPROC_INVALID);
    EXPECT_EQ(reason(plugin, call), "the key is not UTF-8");
    EXPECT_EQ(api.set_json(call, abi("ns"), extproc_str{nullptr, 3}, abi("1")), EXTPROC_INVALID);
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("name"), abi("m")), EXTPROC_INVALID);
    EXPECT_THAT(reason(plugin, call), HasSubstr("type URL"));
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("t/u"), abi(large)), EXTPROC_LIMIT);
    EXPECT_THAT(reason(plugin, call), HasSubstr("64 KiB"));
    EXPECT_EQ(json("\"" + large + "\""), EXTPROC_LIMIT);
    EXPECT_EQ(revision_1->set_string(call, abi("ns"), abi("k"), abi(large)), EXTPROC_LIMIT);
    EXPECT_EQ(revision_1->set_string(call, abi("ns"), abi("k"), abi("\xFF")), EXTPROC_INVALID);
    return EXTPROC_CONTINUE;
  };
  send("request_headers {}");
  expect_replies({"request_headers {}"});
  const auto& refused = plugin.host->metrics().refused;
  EXPECT_EQ(refused[static_cast<std::size_t>(telemetry::Refusal::kInvalid)]->value(), 8);
  EXPECT_EQ(refused[static_cast<std::size_t>(telemetry::Refusal::kLimit)]->value(), 4);
}

TEST_F(MetadataTableTest, it_is_too_late_outside_of_on_phase) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  const auto& api = table(plugin);
  int asked = 0;
  const auto all_too_late = [&](extproc_call* call) {
    ++asked;
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("k"), abi("1")), EXTPROC_TOO_LATE);
    EXPECT_THAT(reason(plugin, call), HasSubstr("on_phase"));
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("t/u"), abi("m")), EXTPROC_TOO_LATE);
    EXPECT_EQ(api.remove(call, abi("ns"), abi("k")), EXTPROC_TOO_LATE);
    const extproc_value* value = nullptr;
    EXPECT_EQ(api.attribute(call, abi("a"), &value), EXTPROC_OK);
    EXPECT_EQ(shown(api, value), "1 true");
  };
  plugin.on_begin = [&](extproc_call* call) {
    all_too_late(call);
    return EXTPROC_CONTINUE;
  };
  plugin.on_end = [&](extproc_call* call, const extproc_stream_end&) { all_too_late(call); };
  send(R"(request_headers {} attributes { key: "envoy.filters.http.ext_proc" value {
      fields { key: "a" value { bool_value: true } } } })");
  stream().half_closed();
  EXPECT_EQ(asked, 2);
  expect_replies({"request_headers {}"});
}

TEST_F(MetadataTableTest, what_a_plugin_did_in_the_phase_in_which_it_failed_is_undone) {
  auto& first = add_plugin("first", {EXTPROC_REQUEST_HEADERS});
  auto& broken = add_plugin("broken", {EXTPROC_REQUEST_HEADERS}, config::FailurePolicy::kSkip);
  const auto& api = table(first);
  first.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.set_json(call, abi("ns"), abi("k"), abi("1")), EXTPROC_OK);
    EXPECT_EQ(api.set_typed(call, abi("ns"), abi("t/u"), abi("m")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  broken.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(api.remove(call, abi("ns"), abi("")), EXTPROC_OK);
    EXPECT_EQ(api.set_json(call, abi("other"), abi("k"), abi("[]")), EXTPROC_OK);
    EXPECT_EQ(api.set_typed(call, abi("other"), abi("t/u"), abi("m")), EXTPROC_OK);
    return EXTPROC_FAIL;
  };
  send("request_headers {}");
  expect_replies({R"(request_headers {}
      dynamic_metadata { fields { key: "ns" value { struct_value { fields { key: "k" value { number_value: 1 } } } } } }
      typed_dynamic_metadata { key: "ns" value { type_url: "t/u" value: "m" } })"});
}

}  // namespace
}  // namespace extprocd::engine
