#include "core/engine/chain_table.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using config::FailurePolicy;
using config::RequestMatch;
using config::TextPattern;

class ChainTableTest : public EngineFixture {
 protected:
  /// A chain whose one plugin adds the header x: <name> to requests.
  Chain& add_chain(const std::string& name, const RequestMatch& match) {
    Chain& chain = generation_->chains.add(std::make_unique<Chain>(name), match);
    mark(name, chain);
    return chain;
  }
  void mark(const std::string& name, Chain& chain) {
    auto& plugin = add_plugin("of_" + name, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS},
                              FailurePolicy::kFail, nullptr, &chain);
    plugin.on_phase = [&plugin, name](extproc_call* call, uint32_t phase, uint32_t) {
      EXPECT_EQ(std::string(plugin.api().facts(call)->chain.data, plugin.api().facts(call)->chain.size),
                name);
      plugin.api().header_set(call, phase, abi("x"), abi(name));
      return EXTPROC_CONTINUE;
    };
  }

  static RequestMatch metadata(const std::string& value) {
    RequestMatch match;
    match.metadata = {{std::string(kChainMetadata), {TextPattern::parse(value)}}};
    return match;
  }
  static RequestMatch path_prefix(const std::string& prefix) {
    RequestMatch match;
    match.path = {{TextPattern::Kind::kPrefix, prefix}};
    return match;
  }

  static std::string headers(const std::vector<std::pair<std::string, std::string>>& entries) {
    std::string text = "request_headers { headers {";
    for (const auto& [name, value] : entries) {
      text.append(" headers { key: \"").append(name).append("\" raw_value: \"").append(value).append("\" }");
    }
    return text + " } }";
  }

  /// The chain that marked the only reply; empty if none did.
  std::string marked() {
    EXPECT_EQ(sink_.replies.size(), 1U) << described();
    if (sink_.replies.size() != 1) return "?";
    const auto& reply = sink_.replies[0];
    const auto& mutation = reply.has_request_headers()
                               ? reply.request_headers().response().header_mutation()
                               : reply.response_headers().response().header_mutation();
    return mutation.set_headers_size() == 0 ? "" : mutation.set_headers(0).header().raw_value();
  }
  /// The chain of a new stream with these headers.
  std::string chain_for(const std::vector<std::pair<std::string, std::string>>& entries) {
    stream_.reset();
    sink_ = {};
    send(headers(entries));
    return marked();
  }
};

TEST_F(ChainTableTest, the_first_match_wins_and_the_default_takes_the_rest_wherever_it_stands) {
  mark("default", default_chain());
  add_chain("a", path_prefix("/a"));
  add_chain("ab", path_prefix("/a/b"));
  add_chain("b", path_prefix("/b"));
  EXPECT_EQ(chain_for({{":path", "/a/b"}}), "a");
  EXPECT_EQ(chain_for({{":path", "/b?x=/a"}}), "b");
  EXPECT_EQ(chain_for({{":path", "/c"}}), "default");
  EXPECT_EQ(chain_for({}), "default");
}

TEST_F(ChainTableTest, every_kind_of_condition_is_looked_at_and_all_of_them_must_fit) {
  mark("default", default_chain());
  RequestMatch match;
  match.authority = {TextPattern::parse("a.example"), TextPattern::parse("*.b.example")};
  match.method = {TextPattern::parse("GET"), TextPattern::parse("HEAD")};
  match.header = {{"x-tenant", {TextPattern::parse("acme*")}}};
  add_chain("c", match);
  const auto with = [](std::string authority, std::string method, std::string tenant) {
    return std::vector<std::pair<std::string, std::string>>{{":authority", std::move(authority)},
                                                            {":method", std::move(method)},
                                                            {"x-tenant", std::move(tenant)}};
  };
  EXPECT_EQ(chain_for(with("a.example", "GET", "acme")), "c");
  EXPECT_EQ(chain_for(with("A.Example:8080", "HEAD", "acme-1")), "c");
  EXPECT_EQ(chain_for(with("x.b.example", "GET", "acme")), "c");
  EXPECT_EQ(chain_for(with("b.example", "GET", "acme")), "default");
  EXPECT_EQ(chain_for(with("a.example", "get", "acme")), "default");
  EXPECT_EQ(chain_for(with("a.example", "GET", "other")), "default");
}

TEST_F(ChainTableTest, an_ipv6_authority_and_a_pattern_with_a_port_are_understood) {
  mark("default", default_chain());
  RequestMatch match;
  match.authority = {TextPattern::parse("[::1]"), TextPattern::parse("p.example:81")};
  add_chain("c", match);
  EXPECT_EQ(chain_for({{":authority", "[::1]:80"}}), "c");
  EXPECT_EQ(chain_for({{":authority", "[::1]"}}), "c");
  EXPECT_EQ(chain_for({{":authority", "p.example:81"}}), "c");
  EXPECT_EQ(chain_for({{":authority", "p.example:82"}}), "default");
}

TEST_F(ChainTableTest, an_attribute_of_the_first_message_chooses) {
  mark("default", default_chain());
  RequestMatch match;
  match.attribute = {{"xds.route_name", {TextPattern::parse("r1")}}};
  add_chain("routed", match);
  send(R"(response_headers {}
    attributes { key: "envoy.filters.http.ext_proc" value { fields { key: "xds.route_name" value { string_value: "r1" } } } })");
  EXPECT_EQ(marked(), "routed");
}

TEST_F(ChainTableTest, metadata_chooses_whatever_comes_first) {
  mark("default", default_chain());
  add_chain("strict", metadata("strict"));
  grpc_metadata_ = {{"x-extproc-chain", "strict"}};
  send("response_headers {}");
  EXPECT_EQ(marked(), "strict");
}

TEST_F(ChainTableTest, headers_that_never_come_give_the_default_chain_for_the_whole_stream) {
  mark("default", default_chain());
  add_chain("a", path_prefix("/"));
  send("request_body {}");
  sink_.replies.clear();
  send("response_headers {}");
  EXPECT_EQ(marked(), "default");
}

TEST_F(ChainTableTest, the_choice_is_made_once) {
  mark("default", default_chain());
  add_chain("a", path_prefix("/a"));
  send(headers({{":path", "/a"}}));
  EXPECT_EQ(marked(), "a");
  sink_.replies.clear();
  send("response_headers {}");
  EXPECT_EQ(marked(), "a");
}

TEST_F(ChainTableTest, an_unknown_name_ends_the_stream_with_a_text_that_says_what_is_known) {
  mark("default", default_chain());
  add_chain("a", metadata("a"));
  add_chain("by_path", path_prefix("/"));
  grpc_metadata_ = {{"x-extproc-chain", "b"}};
  send(headers({{":path", "/"}}));
  EXPECT_TRUE(sink_.replies.empty());
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(*sink_.status,
            absl::NotFoundError("gRPC metadata x-extproc-chain names 'b', which is no chain here; "
                                "known: 'default', 'a'"));
  EXPECT_EQ(value_of(metrics_.unknown_chains), 1);
  EXPECT_EQ(value_of(*metrics_.streams_ended[3]), 1);  // failed
}

TEST_F(ChainTableTest, a_name_given_twice_is_unknown_even_if_each_is_known) {
  mark("default", default_chain());
  add_chain("a", metadata("a"));
  grpc_metadata_ = {{"x-extproc-chain", "a"}, {"x-extproc-chain", "a"}};
  send("request_headers {}");
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kNotFound);
}

TEST_F(ChainTableTest, hostile_names_stay_short_and_utf8) {
  grpc_metadata_ = {{"x-extproc-chain", std::string(100000, '\xff')}};
  send("request_headers {}");
  ASSERT_TRUE(sink_.status);
  EXPECT_LT(sink_.status->message().size(), 2000U);
  EXPECT_EQ(sink_.status->message().find('\xff'), std::string_view::npos);
}

TEST_F(ChainTableTest, the_default_chains_name_is_known) {
  mark("default", default_chain());
  add_chain("a", metadata("a"));
  grpc_metadata_ = {{"x-extproc-chain", "default"}};
  send("request_headers {}");
  EXPECT_EQ(marked(), "default");
}

TEST_F(ChainTableTest, an_unknown_name_is_denied_where_so_configured) {
  generation_->config.chains = {FailurePolicy::kDeny, 421, {}};
  mark("default", default_chain());
  grpc_metadata_ = {{"x-extproc-chain", "b"}};
  send("request_headers {}");
  expect_replies(
      {R"(immediate_response { status { code: MisdirectedRequest } details: "extproc_unknown_chain" })"});
}

TEST_F(ChainTableTest, where_no_reply_can_go_out_deny_ends_the_stream) {
  generation_->config.chains = {FailurePolicy::kDeny, 421, {}};
  grpc_metadata_ = {{"x-extproc-chain", "b"}};
  send("response_body {}");
  ASSERT_TRUE(sink_.status);
  EXPECT_EQ(sink_.status->code(), absl::StatusCode::kNotFound);
}

TEST_F(ChainTableTest, an_unknown_name_may_pass_through_no_plugin_at_all) {
  generation_->config.chains.on_unknown = FailurePolicy::kSkip;
  mark("default", default_chain());
  grpc_metadata_ = {{"x-extproc-chain", "b"}};
  send("request_headers {}");
  send("response_headers {}");
  expect_replies({"request_headers {}", "response_headers {}"});
}

TEST_F(ChainTableTest, a_shadow_deployment_is_not_hurt_by_an_unknown_name) {
  grpc_metadata_ = {{"x-extproc-chain", "b"}};
  send("request_headers {} observability_mode: true");
  ASSERT_TRUE(sink_.status);
  EXPECT_TRUE(sink_.status->ok());
}

TEST_F(ChainTableTest, responses_run_in_the_chains_order) {
  std::string order;
  Chain& same = generation_->chains.add(std::make_unique<Chain>("same", config::ResponseOrder::kSame),
                                        metadata("same"));
  for (const char* name : {"1", "2"}) {
    for (Chain* chain : {&same, &default_chain()}) {
      auto& plugin = add_plugin(name, {EXTPROC_REQUEST_HEADERS, EXTPROC_RESPONSE_HEADERS},
                                FailurePolicy::kFail, nullptr, chain);
      plugin.on_phase = [&order, name](auto...) {
        order += name;
        return EXTPROC_CONTINUE;
      };
    }
  }
  send("request_headers {}");
  send("response_headers {}");
  EXPECT_EQ(order, "1221");
  stream_.reset();
  order.clear();
  grpc_metadata_ = {{"x-extproc-chain", "same"}};
  send("request_headers {}");
  send("response_headers {}");
  EXPECT_EQ(order, "1212");
}

// ---- [plugin.when] -------------------------------------------------------------------------------------------------

class WhenTest : public EngineFixture {
 protected:
  /// Adds a plugin that notes the phases in which it ran.
  void add_noting(const config::When& when) {
    when_ = when;
    auto& plugin = add_plugin(
        "p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS, EXTPROC_RESPONSE_BODY},
        FailurePolicy::kFail, &when_);
    plugin.on_phase = [this](extproc_call*, uint32_t phase, uint32_t) {
      ran_ += std::to_string(phase);
      return EXTPROC_CONTINUE;
    };
    plugin.on_end = [this](auto...) { ran_ += "E"; };
  }
  void exchange(const std::string& request, const std::string& response) {
    send("request_headers { headers { " + request + " } }");
    send("request_body {}");
    send("response_headers { headers { " + response + " } }");
    send("response_body {}");
    stream().half_closed();
  }

  config::When when_;
  std::string ran_;
};

TEST_F(WhenTest, a_request_that_does_not_fit_is_never_shown_to_the_plugin) {
  config::When when;
  when.request.method = {TextPattern::parse("POST")};
  add_noting(when);
  exchange(R"(headers { key: ":method" raw_value: "GET" })", "");
  EXPECT_EQ(ran_, "");
}

TEST_F(WhenTest, a_request_that_fits_runs_in_all_phases) {
  config::When when;
  when.request.path = {TextPattern::parse("/a/*")};
  add_noting(when);
  exchange(R"(headers { key: ":path" raw_value: "/a/b?c" })", "");
  EXPECT_EQ(ran_, "0134E");
}

TEST_F(WhenTest, without_request_headers_a_condition_on_them_does_not_hold) {
  config::When when;
  when.request.path = {TextPattern::parse("*")};
  add_noting(when);
  send("response_headers {}");
  EXPECT_EQ(ran_, "");
}

TEST_F(WhenTest, a_status_decides_on_the_responses_phases_only) {
  config::When when;
  when.status = {{500, 599}};
  add_noting(when);
  exchange("", R"(headers { key: ":status" raw_value: "200" })");
  EXPECT_EQ(ran_, "01E");
  ran_.clear();
  stream_.reset();
  sink_ = {};
  exchange("", R"(headers { key: ":status" raw_value: "503" })");
  EXPECT_EQ(ran_, "0134E");
}

TEST_F(WhenTest, a_content_type_decides_on_each_direction_by_its_own_headers) {
  config::When when;
  when.content_type = {TextPattern::parse("application/json")};
  add_noting(when);
  exchange(R"(headers { key: "content-type" raw_value: "Application/JSON ; charset=utf-8" })",
           R"(headers { key: "content-type" raw_value: "text/html" })");
  EXPECT_EQ(ran_, "01E");
  ran_.clear();
  stream_.reset();
  sink_ = {};
  exchange("", R"(headers { key: "content-type" raw_value: "application/json" })");
  EXPECT_EQ(ran_, "34E");
}

TEST_F(WhenTest, what_earlier_plugins_changed_does_not_count) {
  auto& earlier = add_plugin("earlier", {EXTPROC_REQUEST_HEADERS});
  earlier.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t) {
    EXPECT_EQ(earlier.api().header_set(call, phase, abi("x"), abi("2")), EXTPROC_OK);
    return EXTPROC_CONTINUE;
  };
  config::When when;
  when.request.header = {{"x", {TextPattern::parse("1")}}};
  add_noting(when);
  exchange(R"(headers { key: "x" raw_value: "1" })", "");
  EXPECT_EQ(ran_, "0134E");
}

}  // namespace
}  // namespace extprocd::engine
