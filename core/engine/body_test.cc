// Bodies through plugins: what each kind of access gets and gives in each body mode.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using config::FailurePolicy;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<uint32_t> kRequestBody = {EXTPROC_REQUEST_BODY};
const std::vector<uint32_t> kHeadersAndBody = {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY};
const std::vector<uint32_t> kResponseBody = {EXTPROC_RESPONSE_BODY};

class BodyTest : public EngineFixture {
 protected:
  /// A plugin for bodies, which see() can be asked about.
  ScriptedPlugin& add(uint32_t access, const std::vector<uint32_t>& phases,
                      FailurePolicy on_error = FailurePolicy::kFail, BodyOptions options = {}) {
    options.access = access;
    return add_plugin("p" + std::to_string(plugins_.size()), phases, on_error, nullptr, nullptr, options);
  }

  static std::string body_of(const ScriptedPlugin& plugin, extproc_call* call) {
    const extproc_str* slices = nullptr;
    size_t count = 0;
    EXPECT_EQ(plugin.api().body(call, &slices, &count), EXTPROC_OK);
    std::string all;
    for (size_t i = 0; i < count; ++i)
      all += std::string(slices[i].data, slices[i].size) + (i + 1 < count ? "|" : "");
    return all;
  }
  static const extproc_body_api& edits(const ScriptedPlugin& plugin) {
    return *static_cast<const extproc_body_api*>(plugin.api().get_extension(&plugin.api(), EXTPROC_BODY_1));
  }
  static const extproc_control_api& control(const ScriptedPlugin& plugin) {
    return *static_cast<const extproc_control_api*>(
        plugin.api().get_extension(&plugin.api(), EXTPROC_CONTROL_1));
  }

  /// Writes down each body that it gets, with "!" at its end and "~" if it is a part, and passes it in brackets.
  void bracket(ScriptedPlugin& plugin) {
    plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t flags) -> extproc_action {
      if (phase != EXTPROC_REQUEST_BODY && phase != EXTPROC_RESPONSE_BODY) return EXTPROC_CONTINUE;
      note(plugin, call, flags);
      EXPECT_EQ(edits(plugin).write(call, abi("[")), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).forward(call, SIZE_MAX), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).write(call, abi("]")), EXTPROC_OK);
      return EXTPROC_CONTINUE;
    };
  }
  /// Holds everything until the body's end.
  void hold_all(ScriptedPlugin& plugin) {
    plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t flags) -> extproc_action {
      note(plugin, call, flags);
      return (flags & EXTPROC_END_OF_BODY) != 0 ? EXTPROC_CONTINUE : EXTPROC_HOLD;
    };
  }
  void note(const ScriptedPlugin& plugin, extproc_call* call, uint32_t flags) {
    seen_.push_back(body_of(plugin, call) + ((flags & EXTPROC_PARTIAL_BODY) != 0 ? "~" : "") +
                    ((flags & EXTPROC_END_OF_BODY) != 0 ? "!" : ""));
  }

  void begin_request(const std::string& mode, const std::string& headers = "") {
    send("request_headers { headers { " + headers + " } } protocol_config { request_body_mode: " + mode +
         " response_body_mode: " + mode + " }");
  }
  void request_body(const std::string& bytes, bool end = false) {
    send("request_body { body: '" + bytes + "' " + (end ? "end_of_stream: true" : "") + " }");
  }
  double held() { return metrics_.held_bytes.value(); }

  std::vector<std::string> seen_;
};

std::string replaced(const std::string& body) {
  return "request_body { response { body_mutation { body: '" + body + "' } } }";
}
constexpr const char* kCleared = "request_body { response { body_mutation { clear_body: true } } }";
std::string piece(const std::string& body, bool end = false) {
  return "request_body { response { body_mutation { streamed_response { body: '" + body + "' " +
         (end ? "end_of_stream: true" : "") + " } } } }";
}
constexpr const char* kSetHeader = R"(header_mutation { set_headers {
  header { key: "x-a" raw_value: "1" } append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD } })";
std::string set_length(const std::string& size) {
  return R"(header_mutation { set_headers { header { key: "content-length" raw_value: ")" + size +
         R"(" } append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD } })";
}
constexpr const char* kLengthOfThree = R"(headers { key: "content-length" raw_value: "3" })";

TEST_F(BodyTest, each_chunk_of_a_streamed_body_is_edited_by_itself) {
  bracket(add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody));
  begin_request("STREAMED");
  expect_replies({"request_headers {}"});
  request_body("ab");
  expect_replies({replaced("[ab]")});
  request_body("", true);
  expect_replies({replaced("[]")});
  EXPECT_THAT(seen_, ElementsAre("ab", "!"));
}

TEST_F(BodyTest, an_empty_piece_stays_untouched_by_calls_that_change_nothing) {
  ScriptedPlugin& plugin = add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(edits(plugin).write(call, abi("")), EXTPROC_OK);
    EXPECT_EQ(edits(plugin).drop(call, SIZE_MAX), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  expect_replies({"request_headers {}"});
  request_body("", true);
  expect_replies({"request_body {}"});
}

TEST_F(BodyTest, chunks_that_are_not_touched_get_the_empty_reply) {
  auto& plugin = add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(edits(plugin).forward(call, 1), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  request_body("ab");
  expect_replies({"request_headers {}", "request_body {}"});
}

TEST_F(BodyTest, a_chunk_is_cleared) {
  auto& plugin = add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(edits(plugin).drop(call, SIZE_MAX), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  request_body("ab");
  expect_replies({"request_headers {}", kCleared});
}

TEST_F(BodyTest, an_observer_cannot_edit) {
  auto& plugin = add(EXTPROC_ACCESS_OBSERVE, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(edits(plugin).write(call, abi("x")), EXTPROC_UNSUPPORTED);
    EXPECT_EQ(edits(plugin).drop(call, 1), EXTPROC_UNSUPPORTED);
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  request_body("ab");
  expect_replies({"request_headers {}", "request_body {}"});
}

TEST_F(BodyTest, a_whole_body_is_held_back_and_given_at_its_end) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("STREAMED");
  request_body("ab");
  request_body("cd");
  EXPECT_EQ(held(), 4);
  request_body("e", true);
  expect_replies({"request_headers {}", kCleared, kCleared, replaced("[abcde]")});
  EXPECT_THAT(seen_, ElementsAre("ab|cd|e!"));
  EXPECT_EQ(held(), 0);
}

TEST_F(BodyTest, a_whole_body_in_full_duplex_goes_on_in_pieces_with_one_end) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("ab");
  expect_replies({"request_headers {}"});
  request_body("cd", true);
  expect_replies({piece("[abcd]", true)});
}

TEST_F(BodyTest, with_trailers_a_whole_body_in_full_duplex_goes_on_before_them) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("ab");
  send("request_trailers {}");
  expect_replies({"request_headers {}", piece("[ab]"), "request_trailers {}"});
  EXPECT_THAT(seen_, ElementsAre("ab!"));
}

TEST_F(BodyTest, with_trailers_held_bytes_of_a_streamed_body_are_a_failure_that_names_the_mend) {
  for (const FailurePolicy policy : {FailurePolicy::kFail, FailurePolicy::kSkip}) {
    begin_anew();
    hold_all(add(EXTPROC_ACCESS_STREAM, kRequestBody, policy));
    begin_request("STREAMED");
    request_body("ab");
    expect_replies({"request_headers {}", kCleared});
    send("request_trailers {}");
    ASSERT_TRUE(sink_.status);
    EXPECT_EQ(sink_.status->code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(sink_.status->message()),
                AllOf(HasSubstr("STREAMED"), HasSubstr("FULL_DUPLEX_STREAMED"),
                      HasSubstr("request_trailer_mode SEND")));
    EXPECT_EQ(held(), 0);
  }
}

TEST_F(BodyTest, a_whole_body_may_be_refused_at_the_trailers) {
  auto& plugin = add(EXTPROC_ACCESS_WHOLE, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    EXPECT_EQ(plugin.api().reply(call, &reply), EXTPROC_OK);
    return EXTPROC_REPLY;
  };
  begin_request("STREAMED");
  request_body("ab");
  send("request_trailers {}");
  expect_replies({"request_headers {}", kCleared, "immediate_response { status { code: Forbidden } }"});
}

TEST_F(BodyTest, a_buffered_body_is_whole_even_if_trailers_follow) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("BUFFERED", kLengthOfThree);
  request_body("abc");
  send("request_trailers {}");
  expect_replies({"request_headers {}",
                  "request_body { response { " + set_length("5") + " body_mutation { body: '[abc]' } } }",
                  "request_trailers {}"});
  EXPECT_THAT(seen_, ElementsAre("abc!"));
}

TEST_F(BodyTest, content_length_is_removed_where_it_is_not_shown) {
  bracket(add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody));
  begin_request("BUFFERED");
  request_body("abc", true);
  expect_replies(
      {"request_headers {}",
       R"(request_body { response { header_mutation { remove_headers: "content-length" } body_mutation { body: '[abc]' } } })"});
}

TEST_F(BodyTest, content_length_goes_with_the_headers_where_the_body_may_change_later) {
  bracket(add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody));
  begin_request("STREAMED", kLengthOfThree);
  expect_replies(
      {R"(request_headers { response { header_mutation { remove_headers: "content-length" } } })"});
}

TEST_F(BodyTest, a_part_of_a_buffered_body_is_said_to_be_one) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("BUFFERED_PARTIAL");
  request_body("abc");
  expect_replies({"request_headers {}", replaced("[abc]")});
  EXPECT_THAT(seen_, ElementsAre("abc~!"));
}

TEST_F(BodyTest, headers_of_a_buffered_body_can_be_changed_with_it) {
  auto& plugin = add(EXTPROC_ACCESS_WHOLE, kHeadersAndBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    if (phase == EXTPROC_REQUEST_BODY) {
      EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("x-a"), abi("1")), EXTPROC_OK);
      EXPECT_EQ(plugin.api().header_set(call, EXTPROC_RESPONSE_HEADERS, abi("x-a"), abi("1")),
                EXTPROC_NOT_FOUND);
      return EXTPROC_CONTINUE;
    }
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("x-b"), abi("1")), EXTPROC_OK);
    return EXTPROC_HOLD;  // means nothing here
  };
  begin_request("BUFFERED");
  sink_.replies.clear();
  request_body("abc", true);
  expect_replies({"request_body { response { " + std::string(kSetHeader) + " } }"});
}

TEST_F(BodyTest, headers_of_a_streamed_body_are_gone_when_it_comes) {
  auto& plugin = add(EXTPROC_ACCESS_WHOLE, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) {
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("x-a"), abi("1")), EXTPROC_TOO_LATE);
    const extproc_str why = plugin.api().last_error(call);
    EXPECT_THAT(std::string(why.data, why.size), HasSubstr("BUFFERED"));
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  request_body("abc", true);
  expect_replies({"request_headers {}", "request_body {}"});
}

TEST_F(BodyTest, in_full_duplex_the_headers_wait_for_the_body_if_a_plugin_asks) {
  auto& plugin = add(EXTPROC_ACCESS_WHOLE, kHeadersAndBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    if (phase == EXTPROC_REQUEST_HEADERS) return EXTPROC_HOLD;
    EXPECT_EQ(plugin.api().header_set(call, EXTPROC_REQUEST_HEADERS, abi("x-a"), abi("1")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("ab");
  expect_replies({});
  request_body("c", true);
  expect_replies({"request_headers { response { " + std::string(kSetHeader) + " } }", piece("abc", true)});
}

TEST_F(BodyTest, what_others_let_go_waits_behind_headers_that_wait) {
  auto& waiter = add(EXTPROC_ACCESS_STREAM, kHeadersAndBody);
  waiter.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t flags) -> extproc_action {
    if (phase == EXTPROC_REQUEST_HEADERS) return EXTPROC_HOLD;
    if ((flags & EXTPROC_END_OF_BODY) != 0) return EXTPROC_CONTINUE;
    EXPECT_EQ(edits(waiter).forward(call, SIZE_MAX), EXTPROC_OK);
    return EXTPROC_HOLD;  // nothing of the body, but the headers
  };
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("ab");
  request_body("cd");
  expect_replies({});
  request_body("", true);
  expect_replies({"request_headers {}", piece("ab"), piece("cd"), piece("", true)});
}

TEST_F(BodyTest, what_is_set_while_the_headers_wait_goes_with_them) {
  auto& plugin = add(EXTPROC_ACCESS_STREAM, kHeadersAndBody);
  const auto& metadata = *static_cast<const extproc_metadata_api*>(
      plugin.api().get_extension(&plugin.api(), EXTPROC_METADATA_1));
  int calls = 0;
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t flags) -> extproc_action {
    if (phase == EXTPROC_REQUEST_HEADERS) return EXTPROC_HOLD;
    EXPECT_EQ(metadata.set_number(call, abi("ns"), abi("k"), ++calls), EXTPROC_OK);
    EXPECT_EQ(edits(plugin).forward(call, SIZE_MAX), EXTPROC_OK);
    return (flags & EXTPROC_END_OF_BODY) != 0 ? EXTPROC_FINISH : EXTPROC_HOLD;
  };
  begin_request("FULL_DUPLEX_STREAMED", kLengthOfThree);
  request_body("ab");
  request_body("c", true);
  expect_replies(
      {R"(request_headers { response { header_mutation { remove_headers: "content-length" } } } dynamic_metadata {
                       fields { key: "ns" value { struct_value { fields { key: "k" value { number_value: 2 } } } } } })",
       piece("ab"), piece("c", true)});
}

TEST_F(BodyTest, headers_of_an_upgrade_never_wait) {
  auto& plugin = add(EXTPROC_ACCESS_WHOLE, kHeadersAndBody);
  plugin.on_phase = [&](extproc_call*, uint32_t phase, uint32_t) -> extproc_action {
    return phase == EXTPROC_REQUEST_HEADERS ? EXTPROC_HOLD : EXTPROC_CONTINUE;
  };
  begin_request("FULL_DUPLEX_STREAMED", R"(headers { key: "upgrade" raw_value: "websocket" })");
  expect_replies({"request_headers {}"});
}

TEST_F(BodyTest, a_stream_plugin_holds_lets_go_and_cuts_anew) {
  auto& plugin = add(EXTPROC_ACCESS_STREAM, kRequestBody);
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t flags) -> extproc_action {
    note(plugin, call, flags);
    if ((flags & EXTPROC_END_OF_BODY) != 0) {
      EXPECT_EQ(edits(plugin).forward(call, SIZE_MAX), EXTPROC_OK);
      EXPECT_EQ(edits(plugin).write(call, abi("END")), EXTPROC_OK);
      return EXTPROC_CONTINUE;
    }
    EXPECT_EQ(edits(plugin).forward(call, 3), EXTPROC_OK);
    return EXTPROC_HOLD;
  };
  begin_request("STREAMED");
  request_body("abcd");
  request_body("e");
  request_body("fg", true);
  expect_replies({"request_headers {}", replaced("abc"), replaced("de"), replaced("fgEND")});
  EXPECT_THAT(seen_, ElementsAre("abcd", "d|e", "fg!"));
  EXPECT_EQ(held(), 0);
}

TEST_F(BodyTest, plugins_are_a_pipeline_and_responses_run_through_it_in_reverse) {
  for (const char* mark : {"1", "2"}) {
    auto& plugin = add(EXTPROC_ACCESS_EDIT_CHUNK, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY});
    plugin.on_phase = [this, &plugin, mark](extproc_call* call, uint32_t, uint32_t flags) {
      note(plugin, call, flags);
      EXPECT_EQ(edits(plugin).write(call, abi(mark)), EXTPROC_OK);
      return EXTPROC_CONTINUE;
    };
  }
  begin_request("STREAMED");
  request_body("a", true);
  send("response_headers {}");
  send("response_body { body: 'b' end_of_stream: true }");
  expect_replies({"request_headers {}", replaced("21a"), "response_headers {}",
                  "response_body { response { body_mutation { body: '12b' } } }"});
  EXPECT_THAT(seen_, ElementsAre("a!", "1|a!", "b!", "2|b!"));
}

TEST_F(BodyTest, every_stage_is_flushed_at_the_end_in_order) {
  hold_all(add(EXTPROC_ACCESS_STREAM, kRequestBody));
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("a");
  request_body("b");
  expect_replies({"request_headers {}"});
  request_body("", true);
  expect_replies({piece("[ab]", true)});
  EXPECT_THAT(seen_, ElementsAre("a", "a|b", "a|b!", "a|b!"));
}

TEST_F(BodyTest, what_a_failed_plugin_held_goes_on_to_the_next_one) {
  auto& failing = add(EXTPROC_ACCESS_STREAM, kRequestBody, FailurePolicy::kSkip);
  failing.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    if (body_of(failing, call) == "a") return EXTPROC_HOLD;
    EXPECT_EQ(edits(failing).drop(call, SIZE_MAX), EXTPROC_OK);
    EXPECT_EQ(edits(failing).write(call, abi("never seen")), EXTPROC_OK);
    return EXTPROC_FAIL;
  };
  bracket(add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody));
  begin_request("STREAMED");
  request_body("a");
  request_body("b");
  request_body("c", true);
  expect_replies({"request_headers {}", kCleared, replaced("[ab]"), replaced("[c]")});
  EXPECT_EQ(held(), 0);
}

TEST_F(BodyTest, what_a_plugin_held_goes_on_when_it_wants_no_more) {
  auto& plugin = add(EXTPROC_ACCESS_STREAM, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) -> extproc_action {
    if (phase == EXTPROC_REQUEST_BODY) return EXTPROC_HOLD;
    EXPECT_EQ(control(plugin).skip(call, EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY)), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  begin_request("STREAMED");
  request_body("a");
  send("response_headers {}");
  EXPECT_FALSE(sink_.status) << "the stream must not end while bytes are held";
  request_body("b");
  expect_replies({"request_headers {}", kCleared, "response_headers {}", replaced("ab")});
}

TEST_F(BodyTest, holding_at_the_body_s_end_is_a_failure) {
  auto& plugin = add(EXTPROC_ACCESS_STREAM, kRequestBody, FailurePolicy::kSkip);
  plugin.on_phase = [](extproc_call*, uint32_t, uint32_t) -> extproc_action { return EXTPROC_HOLD; };
  begin_request("STREAMED");
  request_body("a", true);
  expect_replies({"request_headers {}", "request_body {}"});
  EXPECT_EQ(value_of(*plugin.host->metrics().failures[2]), 1);
  const auto& calls = plugin.host->metrics().calls[EXTPROC_REQUEST_BODY];
  EXPECT_EQ(value_of(*calls[static_cast<std::size_t>(telemetry::CallResult::kError)]), 1);
  EXPECT_EQ(value_of(*calls[static_cast<std::size_t>(telemetry::CallResult::kHeld)]), 0);
}

TEST_F(BodyTest, a_request_body_over_the_plugin_s_limit_is_413) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody, FailurePolicy::kFail, {.most = 3}));
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("ab");
  request_body("cd");
  expect_replies(
      {"request_headers {}",
       R"(immediate_response { status { code: PayloadTooLarge } details: "extproc_p0_body_too_large" })"});
  EXPECT_THAT(seen_, IsEmpty());
  EXPECT_EQ(held(), 0);
  EXPECT_EQ(value_of(*metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kBodySize)]), 1);
}

TEST_F(BodyTest, a_response_body_over_the_limit_gets_the_policy_where_its_headers_are_gone) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kResponseBody, FailurePolicy::kSkip, {.most = 3}));
  begin_request("STREAMED");
  send("response_headers {}");
  send("response_body { body: 'ab' }");
  send("response_body { body: 'cd' }");
  send("response_body { body: 'e' end_of_stream: true }");
  expect_replies({"request_headers {}", "response_headers {}",
                  "response_body { response { body_mutation { clear_body: true } } }",
                  "response_body { response { body_mutation { body: 'abcd' } } }"});
  EXPECT_EQ(sink_.status, absl::OkStatus()) << "nobody wants the rest";
}

TEST_F(BodyTest, a_buffered_response_over_the_limit_gets_the_plugin_s_status) {
  bracket(add(EXTPROC_ACCESS_WHOLE, kResponseBody, FailurePolicy::kFail, {.most = 3}));
  begin_request("BUFFERED");
  send("response_headers {}");
  send("response_body { body: 'abcd' end_of_stream: true }");
  expect_replies(
      {"request_headers {}", "response_headers {}",
       R"(immediate_response { status { code: ServiceUnavailable } details: "extproc_p0_body_too_large" })"});
}

TEST_F(BodyTest, a_stream_s_and_the_server_s_bytes_are_bounded_too) {
  generation_->config.server.limits.max_held_bytes = 3;
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("STREAMED");
  request_body("abcd");
  expect_replies(
      {"request_headers {}",
       R"(immediate_response { status { code: PayloadTooLarge } details: "extproc_p0_body_too_large" })"});
  begin_anew();
  generation_->config.server.limits.max_total_held_bytes = 3;
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  begin_request("STREAMED");
  request_body("abcd");
  expect_replies(
      {"request_headers {}",
       R"(immediate_response { status { code: ServiceUnavailable } details: "extproc_p1_server_holds_too_much" })"});
}

TEST_F(BodyTest, access_that_the_body_mode_does_not_allow_fails_before_the_first_callback) {
  for (const auto& [access, mode] :
       std::initializer_list<std::pair<uint32_t, std::string>>{{EXTPROC_ACCESS_EDIT_CHUNK, "NONE"},
                                                               {EXTPROC_ACCESS_WHOLE, "NONE"},
                                                               {EXTPROC_ACCESS_STREAM, "NONE"},
                                                               {EXTPROC_ACCESS_WHOLE, "GRPC"}}) {
    begin_anew();
    auto& plugin = add(access, kHeadersAndBody);
    plugin.on_begin = [](extproc_call*) -> extproc_action {
      ADD_FAILURE() << "begun";
      return EXTPROC_CONTINUE;
    };
    begin_request(mode);
    ASSERT_TRUE(sink_.status) << mode;
    EXPECT_THAT(std::string(sink_.status->message()), AllOf(HasSubstr(mode), HasSubstr("request_body_mode")));
  }
}

TEST_F(BodyTest, a_request_without_a_body_fails_nobody) {
  add(EXTPROC_ACCESS_WHOLE, kRequestBody);
  send("request_headers { end_of_stream: true } protocol_config {}");
  EXPECT_FALSE(sink_.status && !sink_.status->ok());
}

TEST_F(BodyTest, a_mode_that_is_not_told_can_be_stated) {
  config::DataPlane stated;
  stated.request_body_mode = wire::BodyMode::kBuffered;
  begin_anew(stated);
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  send("request_headers {}");
  request_body("abc");
  EXPECT_THAT(seen_, ElementsAre("abc!"));
  begin_anew();
  bracket(add(EXTPROC_ACCESS_WHOLE, kRequestBody));
  send("request_headers {}");
  ASSERT_TRUE(sink_.status);
  EXPECT_THAT(std::string(sink_.status->message()), HasSubstr("data_plane.request_body_mode"));
}

TEST_F(BodyTest, bodies_of_other_content_types_do_not_come) {
  static constexpr const char* kTypes[] = {"application/json", "text", nullptr};
  for (const auto& [type, comes] :
       std::initializer_list<std::pair<std::string, bool>>{{"application/JSON; charset=utf-8", true},
                                                           {"text/plain", true},
                                                           {"textual/plain", false},
                                                           {"", false}}) {
    begin_anew();
    seen_.clear();
    bracket(add(EXTPROC_ACCESS_EDIT_CHUNK, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS},
                FailurePolicy::kFail, {.types = kTypes}));
    begin_request("STREAMED", R"(headers { key: "content-type" raw_value: ")" + type + "\" }");
    request_body("abc", true);
    EXPECT_EQ(seen_.size(), comes ? 1U : 0U) << type;
  }
}

TEST_F(BodyTest, grpc_messages_are_edited_held_and_let_go_whole) {
  auto& plugin = add(EXTPROC_ACCESS_STREAM, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_TRAILERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t flags) -> extproc_action {
    note(plugin, call, flags);
    if (body_of(plugin, call) == "ab") {
      EXPECT_EQ(edits(plugin).forward(call, 1), EXTPROC_UNSUPPORTED);
      return EXTPROC_HOLD;
    }
    return EXTPROC_CONTINUE;
  };
  begin_request("GRPC");
  request_body("ab");
  request_body("");
  request_body("cd");
  send("request_body { end_of_stream: true end_of_stream_without_message: true }");
  expect_replies({"request_headers {}", piece("ab"), piece(""), piece("cd"),
                  "request_body { response { body_mutation { streamed_response { end_of_stream: true "
                  "end_of_stream_without_message: true } } } }"});
  EXPECT_THAT(seen_, ElementsAre("ab", "ab|", "cd", "!"));
}

TEST_F(BodyTest, window_for_what_plugins_took_is_given_back) {
  hold_all(add(EXTPROC_ACCESS_STREAM, kRequestBody));
  send(
      "request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED } flow_control_init { "
      "initial_window_downstream_to_sidestream: 100 initial_window_sidestream_to_upstream: 100 }");
  request_body("abc");
  expect_replies({"request_headers {} server_window_update {}",
                  "server_window_update { window_increment_downstream_to_sidestream: 3 }"});
  request_body("de", true);
  expect_replies(
      {"request_body { response { body_mutation { streamed_response { body: 'abcde' end_of_stream: true } } "
       "} } "
       "server_window_update { window_increment_downstream_to_sidestream: 2 }"});
}

TEST_F(BodyTest, flow_control_init_is_answered_though_the_headers_wait) {
  add(EXTPROC_ACCESS_STREAM, {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY}).on_phase =
      [](extproc_call*, uint32_t phase, uint32_t) -> extproc_action {
    return phase == EXTPROC_REQUEST_HEADERS ? EXTPROC_HOLD : EXTPROC_CONTINUE;
  };
  send(
      "request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED } flow_control_init { "
      "initial_window_downstream_to_sidestream: 100 initial_window_sidestream_to_upstream: 100 }");
  expect_replies({"server_window_update {}"});
  request_body("abc");
  EXPECT_TRUE(sink_.replies.at(0).has_request_headers());
  EXPECT_FALSE(sink_.replies.at(0).has_server_window_update());
}

TEST_F(BodyTest, a_stream_of_which_nobody_wants_more_is_ended) {
  auto& plugin =
      add(EXTPROC_ACCESS_OBSERVE, {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [](extproc_call*, uint32_t, uint32_t) -> extproc_action { return EXTPROC_FINISH; };
  begin_request("STREAMED");
  expect_replies({"request_headers {}"});
  EXPECT_EQ(sink_.status, absl::OkStatus());
  EXPECT_EQ(value_of(metrics_.ended_early), 1);
}

TEST_F(BodyTest, a_stream_is_not_ended_where_bytes_would_be_lost_or_nothing_is_spared) {
  for (const auto& [modes, last] : std::initializer_list<std::pair<std::string, std::string>>{
           {"request_body_mode: FULL_DUPLEX_STREAMED", ""},
           {"response_body_mode: FULL_DUPLEX_STREAMED", ""},
           {"", "response_headers { end_of_stream: true }"}}) {
    begin_anew();
    add_plugin("p", {EXTPROC_RESPONSE_HEADERS}).on_phase = [](auto...) -> extproc_action {
      return EXTPROC_FINISH;
    };
    send("request_headers {} protocol_config { " + modes + " }");
    if (!last.empty()) send(last);
    EXPECT_FALSE(sink_.status) << modes;
  }
}

constexpr auto* kDrain = "request_drain: true request_drain_requests: true request_drain_responses: true";

TEST_F(BodyTest, a_grpc_data_plane_is_asked_to_drain_with_its_requests_headers) {
  add(EXTPROC_ACCESS_OBSERVE, {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY})
      .on_phase = [](auto...) -> extproc_action { return EXTPROC_FINISH; };
  send("request_headers {} protocol_config { request_body_mode: GRPC response_body_mode: GRPC }");
  expect_replies({std::string("request_headers {} ") + kDrain});
  request_body("cd");
  expect_replies({piece("cd")});
  stream().half_closed();
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(BodyTest, a_grpc_data_plane_is_asked_to_drain_where_it_sends_no_response_bodies) {
  add(EXTPROC_ACCESS_EDIT_CHUNK, kRequestBody).on_phase = [](auto...) -> extproc_action {
    return EXTPROC_FINISH;
  };
  send("request_headers {} protocol_config { request_body_mode: GRPC }");
  request_body("ab");
  expect_replies({"request_headers {}", piece("ab"), kDrain});
  request_body("cd");
  // To grpc-go answers to the response would be a fault now.
  send("response_headers {}");
  send("response_trailers {}");
  expect_replies({piece("cd")});
  EXPECT_FALSE(sink_.status);
}

TEST_F(BodyTest, a_grpc_data_plane_is_not_asked_to_drain_where_that_would_lose_response_bodies) {
  for (const std::string first : {"request_headers {}", "request_body { body: 'ab' }"}) {
    begin_anew();
    add(EXTPROC_ACCESS_OBSERVE, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY}).on_phase =
        [](auto...) -> extproc_action { return EXTPROC_FINISH; };
    send(first + " protocol_config { request_body_mode: GRPC response_body_mode: GRPC }");
    sink_.replies.clear();
    request_body("cd");
    send("response_headers {}");
    send("response_body { body: 'ef' }");
    expect_replies({piece("cd"), "response_headers {}",
                    "response_body { response { body_mutation { streamed_response { body: 'ef' } } } }"});
  }
}

TEST_F(BodyTest, a_data_plane_that_drains_by_direction_says_when_each_is_done) {
  add(EXTPROC_ACCESS_EDIT_CHUNK, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY}).on_phase =
      [](auto...) -> extproc_action { return EXTPROC_FINISH; };
  send(
      "request_headers {} protocol_config { request_body_mode: FULL_DUPLEX_STREAMED response_body_mode: "
      "FULL_DUPLEX_STREAMED } flow_control_init { initial_window_downstream_to_sidestream: 100 "
      "initial_window_sidestream_to_upstream: 100 initial_window_upstream_to_sidestream: 100 "
      "initial_window_sidestream_to_downstream: 100 }");
  sink_.replies.clear();
  const auto echo = [](const std::string& direction, const std::string& body, const std::string& window) {
    return direction + "_body { response { body_mutation { streamed_response { " + body +
           " } } } } server_window_update { window_increment_" + window + "_to_sidestream: 2 }";
  };
  request_body("ab");
  expect_replies({echo("request", "body: 'ab'", "downstream"), kDrain});
  request_body("cd");
  send("response_headers {}");
  send("request_body { body: 'ef' drain_complete: true }");
  expect_replies({echo("request", "body: 'cd'", "downstream"), "response_headers {}",
                  echo("request", "body: 'ef' drain_complete: true", "downstream")});
  EXPECT_FALSE(sink_.status);
  send("response_body { body: 'gh' drain_complete: true }");
  expect_replies({echo("response", "body: 'gh' drain_complete: true", "upstream")});
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(BodyTest, a_drained_stream_does_not_end_while_something_waits_for_window) {
  auto& plugin = add(EXTPROC_ACCESS_OBSERVE, {EXTPROC_REQUEST_BODY});
  plugin.on_phase = [](auto...) -> extproc_action { return EXTPROC_FINISH; };
  send(R"(request_headers {} protocol_config { request_body_mode: GRPC response_body_mode: GRPC }
          flow_control_init { initial_window_downstream_to_sidestream: 10 initial_window_sidestream_to_upstream: 1 })");
  send("response_headers {}");
  send("response_trailers {}");
  request_body("ab");  // and is asked to drain
  sink_.replies.clear();
  request_body("cd", true);
  expect_replies({});
  EXPECT_FALSE(sink_.status);
  stream().half_closed();
  expect_replies(
      {R"(request_body { response { body_mutation { streamed_response { body: "cd" end_of_stream: true } } } }
                     server_window_update { window_increment_downstream_to_sidestream: 2 })"});
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(BodyTest, modes_are_asked_for_by_what_plugins_need) {
  static constexpr const char* kJson[] = {"application/json", nullptr};
  for (const auto& [access, type, mode, extra] :
       std::initializer_list<std::tuple<uint32_t, std::string, std::string, std::string>>{
           {EXTPROC_ACCESS_WHOLE, "application/json", "BUFFERED", ""},
           {EXTPROC_ACCESS_EDIT_CHUNK, "application/json", "STREAMED", ""},
           {EXTPROC_ACCESS_STREAM, "application/json", "FULL_DUPLEX_STREAMED",
            "request_trailer_mode: SEND"}}) {
    config::DataPlane allowing;
    allowing.allow_mode_override = true;
    begin_anew(allowing);
    add(access, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS}, FailurePolicy::kFail, {.types = kJson});
    send(R"(request_headers { headers { headers { key: "content-type" raw_value: ")" + type +
         "\" } } } protocol_config { response_body_mode: STREAMED }");
    expect_replies({"request_headers {} mode_override { request_body_mode: " + mode +
                    " response_body_mode: NONE " + extra + " }"});
  }
}

TEST_F(BodyTest, a_body_is_asked_for_though_no_other_phase_is_wanted) {
  config::DataPlane allowing;
  allowing.allow_mode_override = true;
  begin_anew(allowing);
  add(EXTPROC_ACCESS_WHOLE, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY});
  begin_request("NONE");
  expect_replies({"request_headers {} mode_override { request_body_mode: BUFFERED }"});
  request_body("abc", true);
  EXPECT_FALSE(sink_.status) << "the response's headers are yet to come";
  send("response_headers {}");
  expect_replies(
      {"request_body {}",
       "response_headers {} mode_override { request_body_mode: BUFFERED response_body_mode: BUFFERED }"});
}

TEST_F(BodyTest, a_response_s_mode_is_asked_for_behind_a_request_s_that_was_made_full_duplex) {
  config::DataPlane allowing;
  allowing.allow_mode_override = true;
  begin_anew(allowing);
  add(EXTPROC_ACCESS_STREAM, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY});
  begin_request("NONE");
  request_body("abc", true);
  send("response_headers {}");
  expect_replies(
      {"request_headers {} mode_override { request_body_mode: FULL_DUPLEX_STREAMED request_trailer_mode: "
       "SEND }",
       piece("abc", true),
       "response_headers {} mode_override { request_body_mode: FULL_DUPLEX_STREAMED response_body_mode: "
       "FULL_DUPLEX_STREAMED request_trailer_mode: SEND response_trailer_mode: SEND }"});
}

TEST_F(BodyTest, bodies_that_nobody_needs_are_not_sent) {
  config::DataPlane allowing;
  allowing.allow_mode_override = true;
  begin_anew(allowing);
  static constexpr const char* kJson[] = {"application/json", nullptr};
  add(EXTPROC_ACCESS_WHOLE, {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY}, FailurePolicy::kFail,
      {.types = kJson});
  begin_request("BUFFERED", R"(headers { key: "content-type" raw_value: "text/plain" })");
  expect_replies(
      {"request_headers {} mode_override { request_body_mode: NONE response_body_mode: BUFFERED }"});
  send(R"(response_headers { headers { headers { key: "content-type" raw_value: "text/plain" } } })");
  expect_replies({"response_headers {}"});
  EXPECT_EQ(sink_.status, absl::OkStatus());
}

TEST_F(BodyTest, more_time_is_asked_for_before_the_answer) {
  config::DataPlane stated;
  stated.max_message_timeout = 1.5;
  begin_anew(stated);
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS});
  plugin.on_phase = [&](extproc_call* call, uint32_t, uint32_t) -> extproc_action {
    EXPECT_EQ(control(plugin).extend_timeout(call, 0), EXTPROC_INVALID);
    EXPECT_EQ(control(plugin).extend_timeout(call, 1501), EXTPROC_UNSUPPORTED);
    EXPECT_EQ(control(plugin).extend_timeout(call, 1500), EXTPROC_OK);
    EXPECT_EQ(control(plugin).extend_timeout(call, 1), EXTPROC_LIMIT);
    return EXTPROC_CONTINUE;
  };
  begin_request("NONE");
  expect_replies({"override_message_timeout { seconds: 1 nanos: 500000000 }", "request_headers {}"});
}

/// Replies with "a", and a piece for each piece of the request's body.
extproc_action echo_in_pieces(const ScriptedPlugin& plugin, const extproc_streamed_reply_api& api,
                              extproc_call* call, uint32_t phase) {
  if (phase != EXTPROC_REQUEST_HEADERS) {
    EXPECT_EQ(api.write(call, abi("x")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  }
  const extproc_header header{abi("x-a"), abi("1")};
  extproc_reply reply{};
  reply.struct_size = sizeof reply;
  reply.status = 200;
  reply.headers = &header;
  reply.headers_count = 1;
  reply.grpc_status = -1;
  EXPECT_EQ(api.begin(call, &reply), EXTPROC_OK) << std::string(plugin.api().last_error(call).data);
  EXPECT_EQ(api.write(call, abi("a")), EXTPROC_OK);
  return EXTPROC_REPLY;
}

TEST_F(BodyTest, a_reply_goes_out_in_pieces_while_the_request_comes) {
  config::DataPlane stated;
  stated.streamed_immediate_response = true;
  begin_anew(stated);
  auto& plugin = add(EXTPROC_ACCESS_OBSERVE, kHeadersAndBody);
  const auto& api = *static_cast<const extproc_streamed_reply_api*>(
      plugin.api().get_extension(&plugin.api(), EXTPROC_STREAMED_REPLY_1));
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    return echo_in_pieces(plugin, api, call, phase);
  };
  begin_request("FULL_DUPLEX_STREAMED");
  expect_replies({R"(streamed_immediate_response { headers_response { headers {
                       headers { key: ":status" raw_value: "200" } headers { key: "x-a" raw_value: "1" } } } })",
                  "streamed_immediate_response { body_response { body: 'a' } }"});
  request_body("1");
  expect_replies({"streamed_immediate_response { body_response { body: 'x' } }"});
  request_body("2", true);
  expect_replies({"streamed_immediate_response { body_response { body: 'x' end_of_stream: true } }"});
}

TEST_F(BodyTest, a_reply_in_pieces_is_gathered_where_the_data_plane_takes_none) {
  auto& plugin = add(EXTPROC_ACCESS_OBSERVE, kHeadersAndBody);
  const auto& api = *static_cast<const extproc_streamed_reply_api*>(
      plugin.api().get_extension(&plugin.api(), EXTPROC_STREAMED_REPLY_1));
  plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    return echo_in_pieces(plugin, api, call, phase);
  };
  const std::string immediate = R"(immediate_response { status { code: OK } headers { set_headers {
      header { key: "x-a" raw_value: "1" } append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD } } body: )";
  begin_request("FULL_DUPLEX_STREAMED");
  request_body("1");
  request_body("2", true);
  expect_replies({immediate + "'axx' }"});
  stream_.reset();
  sink_ = {};
  begin_request("BUFFERED");  // answered before the body comes
  expect_replies({immediate + "'a' }"});
}

}  // namespace
}  // namespace extprocd::engine
