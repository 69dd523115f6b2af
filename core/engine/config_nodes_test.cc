#include "core/engine/config_nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

using config::Value;
using testing::ElementsAre;

std::vector<std::string> unread(const ConfigNode& root) {
  std::vector<config::Diagnostic> errors;
  root.report_unread("f.toml", "p", errors);
  std::vector<std::string> texts;
  texts.reserve(errors.size());
  for (const auto& error : errors) texts.push_back(error.to_string());
  return texts;
}

Value table() {
  Value inner{Value::Table{{"deep", Value{int64_t{1}, {4, 2}}}}, {3, 1}};
  Value list{Value::Array{Value{true, {5, 9}}}, {5, 1}};
  return {Value::Table{{"header", Value{std::string("x"), {2, 1}}}, {"inner", inner}, {"list", list}},
          {1, 1}};
}

TEST(ConfigNodes, keys_that_nobody_asked_for_are_reported_with_place_and_nearest_known_key) {
  const Value value = table();
  const ConfigNode root(value);
  EXPECT_EQ(root.find("heeder"), nullptr);
  EXPECT_EQ(root.find("inner")->find("other"), nullptr);
  EXPECT_THAT(unread(root),
              ElementsAre("f.toml:2:1: plugin 'p' has no option 'header'; did you mean 'heeder'?",
                          "f.toml:4:2: plugin 'p' has no option 'deep'",
                          "f.toml:5:1: plugin 'p' has no option 'list'"));
}

TEST(ConfigNodes, what_was_read_by_name_by_place_or_as_a_whole_is_not_reported) {
  const Value value = table();
  const ConfigNode root(value);
  EXPECT_NE(root.find("header"), nullptr);
  EXPECT_NE(root.find("inner")->find("deep"), nullptr);
  EXPECT_EQ(root.at(2)->key(), "list");
  EXPECT_EQ(root.at(3), nullptr);
  EXPECT_TRUE(unread(root).empty());
  const ConfigNode again(value);
  again.mark_all_read();
  EXPECT_TRUE(unread(again).empty());
}

}  // namespace
}  // namespace extprocd::engine
