#include "core/server/describe.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/envoy_settings.h"
#include "test/support/loaded_generation.h"

namespace extprocd::server {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::string_view kPlugins = R"(
[[plugin]]
name = "i"
module = "instructions.so"
timeout = "20ms"
[[plugin]]
name = "t"
module = "tenant_header.so"
[plugin.timeouts]
request_headers = 1
[plugin.config]
value = "acme"
)";

/// Plugins `i` (headers and trailers both ways) and `t` (request headers), with these chains.
class DescribeTest : public testing::Test {
 protected:
  const engine::Generation& build(const std::string& chains) {
    auto result = config::load_text(std::string(kPlugins) + chains, "f.toml");
    for (const auto& error : result.errors) ADD_FAILURE() << error.to_string();
    loaded_.emplace(std::move(result.config));
    return *loaded_->generation();
  }
  EnvoySettings settings(const engine::Generation& generation, std::size_t chain) {
    return envoy_settings(generation, generation.chains.entries()[chain]);
  }
  static std::vector<std::string> texts(const std::vector<config::Diagnostic>& notes) {
    std::vector<std::string> all;
    for (const auto& note : notes) all.push_back(note.to_string());
    return all;
  }

  std::optional<test::LoadedGeneration> loaded_;
};

TEST_F(DescribeTest, one_chain_of_all_plugins_is_shown_with_its_settings) {
  const auto& generation = build("");
  EXPECT_THAT(
      describe(generation),
      AllOf(HasSubstr("chain 'default':\n  1. i: extproc.instructions"), HasSubstr("  2. t: example.tenant"),
            HasSubstr("response_trailer_mode: SEND\n    message_timeout: 0.2s\n"),
            Not(HasSubstr("one Envoy filter")), Not(HasSubstr("attributes"))));
  EXPECT_THAT(texts(never_reached(generation)), IsEmpty());
}

TEST_F(DescribeTest, times_are_shown_as_they_were_stated) {
  const auto& generation = build(R"(
[[chain]]
name = "c"
plugins = ["i", "t"]
[chain.data_plane]
message_timeout = "250ms"
max_message_timeout = "2s"
)");
  EXPECT_THAT(describe(generation),
              AllOf(HasSubstr("  deadline 1800ms for what plugins wait for\n"),
                    HasSubstr("    message_timeout: 0.25s\n    max_message_timeout: 2s\n"),
                    HasSubstr("     timeout  20ms\n"), HasSubstr("     timeout  request_headers 1000ms\n")));
}

TEST_F(DescribeTest, what_puts_a_plugin_aside_is_shown) {
  const auto& generation = build(R"(
[[plugin]]
name = "q"
module = "instructions.so"
deny_status = 403
[plugin.quarantine]
failures = 5
window = "2s"
duration = 60
)");
  EXPECT_THAT(describe(generation),
              HasSubstr("     on_error fail\n"
                        "     quarantine deny with status 403 for 60000ms after 5 failures within 2000ms\n"));
}

TEST(Describe, overload_is_shown_with_its_limits) {
  EXPECT_EQ(overload_text({}), "off");
  EXPECT_EQ(overload_text({.max_streams = 1000, .max_waiting = 50, .policy = config::FailurePolicy::kDeny}),
            "deny with status 503 at 1000 streams, 50 waiting callbacks");
  EXPECT_EQ(overload_text({.max_held_bytes = 4096, .policy = config::FailurePolicy::kSkip}),
            "skip at 4096 held bytes");
}

TEST_F(DescribeTest, settings_ask_for_what_the_plugins_and_the_choice_of_chains_need) {
  const auto& generation = build(R"(
[[chain]]
name = "t"
plugins = ["t"]
[chain.match]
metadata = { x-extproc-chain = ["t", "u"] }
attribute = { "source.address" = "10.*" }
[[chain]]
name = "rest"
plugins = []
)");
  const EnvoySettings first = settings(generation, 0);
  EXPECT_TRUE(first.request_headers);
  EXPECT_FALSE(first.response_headers || first.request_trailers || first.request_body);
  EXPECT_THAT(first.attributes, ElementsAre("source.address"));
  EXPECT_THAT(first.chain_names, ElementsAre("t", "u"));
  const EnvoySettings rest = settings(generation, 1);
  EXPECT_FALSE(rest.request_headers);
  EXPECT_THAT(rest.to_yaml(""), HasSubstr("response_attributes: [\"source.address\"]"));
  EXPECT_THAT(describe(generation), HasSubstr("one Envoy filter that serves all chains"));
}

TEST_F(DescribeTest, a_chain_that_is_chosen_by_headers_makes_every_chain_ask_for_them) {
  const auto& generation = build(R"(
[[chain]]
name = "t"
plugins = ["t"]
[chain.match]
path_prefix = "/t"
[[chain]]
name = "rest"
plugins = []
)");
  EXPECT_TRUE(settings(generation, 1).request_headers);
}

TEST_F(DescribeTest, what_no_stream_can_reach_is_named_at_its_place) {
  const auto& generation = build(R"(
[plugin.when]
path_prefix = "/a"
status = 404
[[plugin]]
name = "idle"
module = "instructions.so"
[[chain]]
name = "wide"
plugins = ["t"]
[chain.match]
path_prefix = "/b"
[[chain]]
name = "narrow"
plugins = ["i"]
[chain.match]
path = "/b/c"
method = "GET"
[[chain]]
name = "rest"
plugins = ["i"]
)");
  EXPECT_THAT(
      texts(never_reached(generation)),
      ElementsAre(
          "f.toml:25:1: chain 'narrow' is never reached: chain 'wide' before it takes all that would "
          "fit it",
          "f.toml:17:1: plugin 'idle' is in no chain and is not loaded",
          "f.toml:20:1: plugin 't' is never reached in chain 'wide': its `when` and the chain's match "
          "exclude each other",
          "f.toml:20:1: plugin 't' is never reached in chain 'wide': its `when` has a status, but it "
          "asks for no phase of the response"));
  EXPECT_EQ(generation.plugins.size(), 2U);
}

TEST_F(DescribeTest, a_chain_with_options_of_its_own_gets_an_instance_of_its_own) {
  const auto& generation = build(R"(
[[chain]]
name = "a"
plugins = ["t"]
[chain.match]
method = "GET"
[chain.override.t]
on_error = "skip"
[chain.override.t.config]
value = "other"
[[chain]]
name = "b"
plugins = ["t", "i"]
[chain.match]
method = "PUT"
[chain.override.t]
on_error = "deny"
deny_status = 403
[[chain]]
name = "rest"
plugins = ["t"]
)");
  const auto link = [&](std::size_t chain) { return generation.chains.entries()[chain].chain->links()[0]; };
  EXPECT_NE(link(0).instance, link(2).instance);
  EXPECT_EQ(link(1).instance, link(2).instance);
  EXPECT_EQ(link(0).on_error, config::FailurePolicy::kSkip);
  EXPECT_EQ(link(1).on_error, config::FailurePolicy::kDeny);
  EXPECT_EQ(link(1).deny_status, 403U);
  EXPECT_EQ(link(2).on_error, config::FailurePolicy::kFail);
}

}  // namespace
}  // namespace extprocd::server
