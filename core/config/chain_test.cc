#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"

namespace extprocd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::string_view kPlugins =
    "[[plugin]]\nname = \"auth\"\nmodule = \"a.so\"\n[[plugin]]\nname = \"log\"\nmodule = \"l.so\"\n";

LoadResult load(std::string_view chains) {
  return load_text(std::string(kPlugins) + std::string(chains), "f.toml");
}

std::vector<std::string> errors_of(std::string_view chains) {
  std::vector<std::string> texts;
  for (const auto& error : load(chains).errors) texts.push_back(error.to_string());
  return texts;
}

TEST(ChainConfigTest, a_whole_chain_is_read) {
  const LoadResult result = load(R"(
[chains]
on_unknown = "deny"
deny_status = 404
[[chain]]
name = "strict"
plugins = ["log", "auth"]
response_order = "same"
[chain.match]
authority = ["A.example", "*.b.example"]
path = "/exact"
path_prefix = ["/api/", "/*"]
method = ["GET", "POST"]
header = { X-Tenant = "acme", x-debug = ["*", "1"] }
metadata = { X-Extproc-Chain = "strict" }
attribute = { "xds.route_name" = "r*" }
[chain.override.auth]
on_error = "deny"
deny_status = 403
[chain.override.auth.config]
mode = "strict"
[[chain]]
name = "rest"
plugins = []
)");
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.config.chains.on_unknown, FailurePolicy::kDeny);
  EXPECT_EQ(result.config.chains.deny_status, 404U);
  ASSERT_EQ(result.config.chain.size(), 2U);
  const Chain& chain = result.config.chain[0];
  EXPECT_EQ(chain.name, "strict");
  EXPECT_THAT(chain.plugins, ElementsAre("log", "auth"));
  EXPECT_EQ(chain.response_order, ResponseOrder::kSame);
  ASSERT_TRUE(chain.match);
  EXPECT_EQ(chain.match->to_string(),
            "metadata 'x-extproc-chain' = strict, authority a.example or *.b.example, path /exact or /api/* "
            "or /**, "
            "method GET or POST, header 'x-tenant' = acme, header 'x-debug' = * or 1, attribute "
            "'xds.route_name' = r*");
  ASSERT_EQ(chain.overrides.size(), 1U);
  EXPECT_EQ(chain.overrides[0].plugin, "auth");
  EXPECT_EQ(chain.overrides[0].on_error, FailurePolicy::kDeny);
  EXPECT_EQ(chain.overrides[0].deny_status, 403U);
  EXPECT_EQ(to_json(*chain.overrides[0].config), R"({"mode":"strict"})");
  EXPECT_FALSE(result.config.chain[1].match);
  EXPECT_THAT(result.config.chain[1].plugins, IsEmpty());
}

TEST(ChainConfigTest, a_plugins_condition_is_read) {
  const LoadResult result = load_text(R"([[plugin]]
name = "p"
module = "p.so"
[plugin.when]
path_prefix = "/api/"
method = "POST"
header = { x-a = "1" }
status = [200, "4xx", "500-503"]
content_type = ["Application/JSON", "text/*"]
)",
                                      "f.toml");
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(
      result.config.plugin[0].when.to_string(),
      "path /api/*, method POST, header 'x-a' = 1, response status 200 or 400-499 or 500-503, content type "
      "application/json or text/*");
}

TEST(ChainConfigTest, without_chains_there_are_none_and_no_error) {
  const LoadResult result = load("");
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.config.chain, IsEmpty());
  EXPECT_EQ(result.config.chains.on_unknown, FailurePolicy::kFail);
}

TEST(ChainConfigTest, exactly_one_chain_is_the_default) {
  EXPECT_THAT(errors_of("[[chain]]\nname = \"a\"\nplugins = []\n[chain.match]\nmethod = \"GET\"\n"),
              ElementsAre(HasSubstr("needs one entry without [chain.match]")));
  EXPECT_THAT(
      errors_of("[[chain]]\nname = \"a\"\nplugins = []\n[[chain]]\nname = \"b\"\nplugins = []\n"),
      ElementsAre("f.toml:10:1: chain.match is missing in 'b', but 'a' is the default chain already"));
}

TEST(ChainConfigTest, a_mistake_names_its_place_and_the_mend) {
  EXPECT_THAT(
      errors_of("[[chain]]\nname = \"a\"\nplugins = [\"auh\"]\n"),
      ElementsAre("f.toml:9:1: chain.plugins names 'auh', but no [[plugin]] has that name; did you mean "
                  "'auth'?"));
  EXPECT_THAT(errors_of("[[chain]]\nname = \"a\"\nplugins = [\"log\", \"log\"]\n"),
              ElementsAre(HasSubstr("names 'log' twice")));
  EXPECT_THAT(errors_of("[[chain]]\nname = \"a\"\n"), ElementsAre(HasSubstr("chain.plugins is missing")));
  EXPECT_THAT(errors_of("[[chain]]\nplugins = []\n"), ElementsAre(HasSubstr("chain.name is missing")));
  EXPECT_THAT(errors_of("[[chain]]\nname = \"a\"\nplugins = []\norder = 1\n"),
              ElementsAre(HasSubstr("unknown key 'chain.order'")));
  EXPECT_THAT(errors_of("[[chain]]\nname = \"a\"\nplugins = []\nresponse_order = \"forth\"\n"),
              ElementsAre(HasSubstr("must be one of reverse, same, not 'forth'")));
  EXPECT_THAT(
      errors_of("[[chain]]\nname = \"a\"\nplugins = [\"log\"]\n[chain.override.auth]\non_error = \"skip\"\n"),
      ElementsAre(HasSubstr("chain.override.auth changes a plugin that is not in the chain's `plugins`")));
  EXPECT_THAT(
      errors_of("[[chain]]\nname = \"a\"\nplugins = [\"log\"]\n[chain.override.log]\non_eror = \"skip\"\n"),
      ElementsAre(HasSubstr("unknown key 'chain.override.log.on_eror'; did you mean 'on_error'?")));
  EXPECT_THAT(errors_of("chain = 1\n"), ElementsAre(HasSubstr("chain")));
}

std::vector<std::string> match_errors(const std::string& condition) {
  return errors_of(
      "[[chain]]\nname = \"rest\"\nplugins = []\n[[chain]]\nname = \"a\"\nplugins = []\n[chain.match]\n" +
      condition + "\n");
}

TEST(ChainConfigTest, conditions_that_would_fit_all_or_nothing_are_mistakes) {
  EXPECT_THAT(match_errors(""), ElementsAre(HasSubstr("chain.match has no condition")));
  EXPECT_THAT(match_errors("method = []"), ElementsAre(HasSubstr("chain.match.method must not be empty")));
  EXPECT_THAT(match_errors("header = {}"), ElementsAre(HasSubstr("chain.match.header must not be empty")));
  EXPECT_THAT(match_errors("method = \"\""), ElementsAre(HasSubstr("must not have empty texts")));
  EXPECT_THAT(match_errors("path = \"a\""), ElementsAre(HasSubstr("must begin with '/'")));
  EXPECT_THAT(match_errors("path_prefix = \"/a?b\""), ElementsAre(HasSubstr("without it")));
  EXPECT_THAT(match_errors("header = { \":path\" = \"/\" }"), ElementsAre(HasSubstr("use authority, path")));
  EXPECT_THAT(match_errors("header = { A = \"1\", a = \"2\" }"), ElementsAre(HasSubstr("given twice")));
  EXPECT_THAT(match_errors("metadata = \"x\""), ElementsAre(HasSubstr("must be a table, not a string")));
  EXPECT_THAT(match_errors("status = 200"), ElementsAre(HasSubstr("unknown key 'chain.match.status'")));
}

TEST(ChainConfigTest, statuses_are_checked) {
  for (const char* wrong :
       {"99", "600", "\"6xx\"", "\"4x\"", "\"300-200\"", "\"\"", "\"a\"", "true", "[\"-\"]", "[]"}) {
    const std::string text = "[[plugin]]\nname = \"p\"\nmodule = \"p.so\"\n[plugin.when]\nstatus = ";
    EXPECT_EQ(load_text(text + wrong + "\n", "f.toml").errors.size(), 1U) << wrong;
  }
}

TEST(ValueTest, tables_are_merged_and_everything_else_replaced) {
  const LoadResult base =
      load_text("[[plugin]]\nname='p'\nmodule='p.so'\n[plugin.config]\na=1\nl=[1,2]\nt={x=1,y=2}\n", "");
  const LoadResult over =
      load_text("[[plugin]]\nname='p'\nmodule='p.so'\n[plugin.config]\nl=[3]\nt={y=4}\nn='new'\n", "");
  EXPECT_EQ(to_json(merged(base.config.plugin[0].config, over.config.plugin[0].config)),
            R"({"a":1,"l":[3],"t":{"x":1,"y":4},"n":"new"})");
}

}  // namespace
}  // namespace extprocd::config
