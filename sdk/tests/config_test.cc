#include "sdk/tests/fake_host.h"
#include <extproc/config.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::Config;
using extproc::ConfigType;
using extproc_test::Array;
using extproc_test::FakeHost;
using extproc_test::Table;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class ConfigTest : public testing::Test {
 protected:
  static Table values() {
    return {{"text", "hello"},
            {"flag", true},
            {"count", 42},
            {"ratio", 0.5},
            {"size", "64KiB"},
            {"names", Array{"a", "b"}},
            {"mixed", Array{"a", 1}},
            {"limits", Table{{"max", 7}, {"deep", Table{{"name", "x"}}}}},
            {"labels", Table{{"z", "1"}, {"a", "2"}}},
            {"rules", Array{Table{{"name", "first"}}, Table{{"name", "second"}}}}};
  }
  Config config() {
    reader_.host = &host_;
    reader_.api = static_cast<const extproc_config_api*>(host_.get_extension(&host_, EXTPROC_CONFIG_1));
    return {reader_, reader_.api->root(&host_)};
  }

  FakeHost host_{values()};
  extproc::detail::ConfigReader reader_;
};

TEST_F(ConfigTest, values_are_read_by_type) {
  const Config config = this->config();
  EXPECT_EQ(config.string_or("text", "no"), "hello");
  EXPECT_EQ(config.required_string("text"), "hello");
  EXPECT_TRUE(config.bool_or("flag", false));
  EXPECT_EQ(config.integer_or("count", 0), 42);
  EXPECT_EQ(config.float_or("ratio", 0), 0.5);
  EXPECT_EQ(config.float_or("count", 0), 42.0);
  EXPECT_EQ(config.size_or("size", 0), 65536U);
  EXPECT_EQ(config.size_or("count", 0), 42U);
  EXPECT_THAT(config.strings("names"), ElementsAre("a", "b"));
  EXPECT_THAT(config.string_table("labels"), ElementsAre(Pair("z", "1"), Pair("a", "2")));
  EXPECT_EQ(config.json(), "{\"raw\":1}");
  EXPECT_FALSE(reader_.failed);
}

TEST_F(ConfigTest, dotted_keys_and_sub_tables_reach_the_same_value) {
  const Config config = this->config();
  EXPECT_EQ(config.integer_or("limits.max", 0), 7);
  EXPECT_EQ(config.table("limits").integer_or("max", 0), 7);
  EXPECT_EQ(config.string_or("limits.deep.name", ""), "x");
  EXPECT_EQ(config.table("limits.deep").string_or("name", ""), "x");
  EXPECT_FALSE(config.has("text.more"));
  ASSERT_EQ(config.tables("rules").size(), 2U);
  EXPECT_EQ(config.tables("rules")[1].string_or("name", ""), "second");
}

TEST_F(ConfigTest, what_is_missing_is_the_default_and_no_error) {
  const Config config = this->config();
  EXPECT_EQ(config.string_or("no", "default"), "default");
  EXPECT_TRUE(config.bool_or("no", true));
  EXPECT_EQ(config.integer_or("no", 3), 3);
  EXPECT_EQ(config.size_or("no", 4), 4U);
  EXPECT_EQ(config.float_or("no", 1.5), 1.5);
  EXPECT_THAT(config.strings("no"), IsEmpty());
  EXPECT_THAT(config.string_table("no"), IsEmpty());
  EXPECT_THAT(config.tables("no"), IsEmpty());
  EXPECT_EQ(config.table("no").table("nor").integer_or("this", 5), 5);
  EXPECT_EQ(config.type("no"), ConfigType::kNone);
  EXPECT_FALSE(reader_.failed);
  EXPECT_THAT(host_.errors, IsEmpty());
}

TEST_F(ConfigTest, all_errors_are_reported_with_key_and_place) {
  const Config config = this->config();
  EXPECT_EQ(config.string_or("count", "default"), "default");
  EXPECT_EQ(config.required_string("nowhere"), "");
  EXPECT_EQ(config.table("limits").required_string("nowhere"), "");
  EXPECT_EQ(config.table("absent").required_string("nowhere"), "");
  EXPECT_FALSE(config.bool_or("text", false));
  EXPECT_EQ(config.integer_or("limits.deep.name", 1), 1);
  EXPECT_EQ(config.integer_or("count", 1, 0, 10), 1);
  EXPECT_EQ(config.size_or("text", 9), 9U);
  EXPECT_EQ(config.float_or("flag", 1), 1);
  EXPECT_THAT(config.strings("mixed"), ElementsAre("a"));
  EXPECT_THAT(config.string_table("names"), IsEmpty());
  EXPECT_THAT(config.string_table("limits"), IsEmpty());
  EXPECT_THAT(config.tables("names"), IsEmpty());
  config.error("text", "must be a colour");
  config.error("nowhere", "is needed with text");
  EXPECT_TRUE(reader_.failed);
  EXPECT_THAT(host_.errors,
              ElementsAre("option 'count' must be a string, found an integer at integer",
                          "required option 'nowhere' is missing: give it a string at table",
                          "required option 'limits.nowhere' is missing: give it a string at table",
                          "required option 'absent.nowhere' is missing: give it a string",
                          "option 'text' must be true or false, found a string at string",
                          "option 'limits.deep.name' must be an integer, found a string at string",
                          "option 'count' must be from 0 to 10, found 42 at integer",
                          "option 'text' must be a number of bytes, or text such as \"64KiB\" at string",
                          "option 'flag' must be a number, found a boolean at bool",
                          "option 'mixed[1]' must be a string, found an integer at integer",
                          "option 'names' must be a table of strings, found an array at array",
                          "option 'limits.max' must be a string, found an integer at integer",
                          "option 'limits.deep' must be a string, found a table at table",
                          "option 'names[0]' must be a table, found a string at string",
                          "option 'names[1]' must be a table, found a string at string",
                          "option 'text': must be a colour at string",
                          "option 'nowhere': is needed with text at table"));
}

TEST(ParseSize, knows_the_units_of_the_server_and_refuses_the_rest) {
  using extproc::detail::parse_size;
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("10B"), 10U);
  EXPECT_EQ(parse_size("2KB"), 2000U);
  EXPECT_EQ(parse_size("2 MiB"), 2U << 20);
  EXPECT_EQ(parse_size("1GiB"), 1U << 30);
  EXPECT_EQ(parse_size("3GB"), 3000000000U);
  EXPECT_EQ(parse_size("18446744073709551615"), UINT64_MAX);
  for (const char* bad :
       {"", "KiB", "-1", "1.5MiB", "1kib", "18446744073709551616", "18446744073709551615KiB"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

}  // namespace
