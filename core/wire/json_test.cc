#include "core/wire/json.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

namespace extprocd::wire {
namespace {

std::string error_of(std::string_view text) {
  const auto parsed = parse_json(text);
  return parsed.ok() ? "taken" : std::string(parsed.status().message());
}

std::string encoded(const Value& value) {
  Encoder out;
  put_value(out, value);
  return std::string(out.view());
}

std::string nested(std::size_t depth, const std::string& open, const std::string& close) {
  std::string text = "1";
  for (std::size_t i = 0; i < depth; ++i) text = open + text + close;
  return text;
}

TEST(Json, BecomesATreeWhoseKeysAreSorted) {
  const auto parsed = parse_json(R"( {"b": [1, -2.5e2, "t\u00e9xt", true, null], "a": {"z": {}, "": []}} )");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Value expected{Value::Struct{{"a", {Value::Struct{{"", {Value::List{}}}, {"z", {Value::Struct{}}}}}},
                                     {"b", {Value::List{{1.0}, {-250.0}, {"t\xC3\xA9xt"}, {true}, {}}}}}};
  EXPECT_EQ(*parsed, expected);
  EXPECT_EQ(parsed->size(), 2U);
  ASSERT_NE(parsed->find("b"), nullptr);
  EXPECT_EQ(parsed->find("b")->size(), 5U);
  EXPECT_EQ(parsed->find("aa"), nullptr);
  EXPECT_EQ(parsed->find("c"), nullptr);
  EXPECT_EQ(parsed->find("b")->find("a"), nullptr);
  EXPECT_EQ(parsed->find("b")->data.index(), 4U);
  EXPECT_EQ(Value{"text"}.size(), 0U);
}

TEST(Json, ThatIsMalformedIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of(""), "not valid JSON: incomplete JSON at byte 0");
  EXPECT_EQ(error_of("{\"a\":"), "not valid JSON: incomplete JSON at byte 5");
  EXPECT_EQ(error_of("[1,2,]"), "not valid JSON: syntax error at byte 5");
  EXPECT_EQ(error_of("{'a':1}"), "not valid JSON: syntax error at byte 1");
  EXPECT_EQ(error_of("{a:1}"), "not valid JSON: syntax error at byte 1");
  EXPECT_EQ(error_of("{} {}"), "not valid JSON: extra data at byte 3");
  EXPECT_EQ(error_of("[1, /* */ 2]"), "not valid JSON: syntax error at byte 4");
  EXPECT_EQ(error_of("[01]"), "not valid JSON: syntax error at byte 2");
  EXPECT_EQ(error_of("NaN"), "not valid JSON: syntax error at byte 0");
  EXPECT_EQ(error_of("[1, 1e400]"), "not valid JSON: a number that is too large for a double at byte 9");
  EXPECT_EQ(error_of(R"({"a":1,"b":2,"a":3})"),
            "not valid JSON: the key 'a' comes twice in an object at byte 18");
}

TEST(Json, ThatIsNotUtf8IsRefusedWithItsPlace) {
  for (const char* text : {"\"a\xFF\"", "{\"a\xC3\":1}", "\"\\ud800\"", "\"\xED\xA0\x80\"", "\"\xC0\x80\""}) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find("not valid JSON: "), std::string::npos) << error;
    EXPECT_NE(error.find(" at byte "), std::string::npos) << error;
  }
}

TEST(Json, NumbersAreTheNearestDoubles) {
  const auto number = [](const char* text) {
    const auto parsed = parse_json(text);
    return parsed.ok() ? std::get<double>(parsed->data) : std::numeric_limits<double>::quiet_NaN();
  };
  EXPECT_EQ(number("0.1"), 0.1);
  EXPECT_EQ(number("9007199254740993"), 9007199254740992.0);
  EXPECT_EQ(number("123456789012345678901234567890"), 123456789012345678901234567890.0);
  EXPECT_EQ(number("1.7976931348623157e308"), std::numeric_limits<double>::max());
  EXPECT_EQ(number("2.2250738585072011e-308"), 2.2250738585072011e-308);
  EXPECT_EQ(number("8.988465674311579E+307"), 8.988465674311579e307);
  EXPECT_EQ(number("1e-400"), 0.0);
  EXPECT_TRUE(std::signbit(number("-0")));
}

TEST(Json, MayBeNestedSoDeepAndNoDeeper) {
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"k\":", "}")}) {
    const std::string deepest = nested(kMaxValueDepth, open, close);
    EXPECT_TRUE(parse_json(deepest).ok());
    const auto deeper = parse_json(nested(kMaxValueDepth + 1, open, close));
    EXPECT_EQ(deeper.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_NE(deeper.status().message().find(" at byte "), std::string::npos) << deeper.status();
  }
}

/// Random JSON, with what protobuf makes of it.
class JsonProperty : public testing::Test {
 protected:
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  std::string random_string() {
    static constexpr const char* kTexts[] = {"\"\"",
                                             "\"a\"",
                                             "\"\\u0000\\n\\/\"",
                                             "\"\xC3\xA9\"",
                                             "\"\\ud83d\\ude00\"",
                                             "\"longer text, \\\"quoted\\\"\""};
    return kTexts[below(std::size(kTexts))];
  }
  std::string random_number() {
    switch (below(4)) {
      case 0:
        return absl::StrCat(static_cast<int>(below(2000)) - 1000);
      case 1:
        return absl::StrCat(static_cast<int64_t>(random_()));
      case 2:
        return absl::StrCat(below(100), ".", below(100000), "e", static_cast<int>(below(40)) - 20);
      default:
        return absl::StrCat("-0.", random_());
    }
  }
  std::string random_json(int depth) {
    switch (below(depth == 0 ? 5 : 9)) {
      case 0:
        return "null";
      case 1:
        return below(2) == 0 ? "true" : "false";
      case 2:
      case 3:
        return random_number();
      case 4:
        return random_string();
      case 5:
      case 6: {
        std::string list = " [";
        for (uint32_t n = below(4); n > 0; --n) list += random_json(depth - 1) + (n > 1 ? ", " : " ");
        return list + "]";
      }
      default: {
        std::string object = "{";
        for (uint32_t n = below(4); n > 0; --n) {
          object += absl::StrCat("\"k", n * 7 % 5, "\": ", random_json(depth - 1), n > 1 ? "," : "");
        }
        return object + "} ";
      }
    }
  }

  std::mt19937_64 random_{20261125};
};

TEST_F(JsonProperty, MeansWhatItMeansToProtobuf) {
  int structs = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_json(5);
    const auto parsed = parse_json(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status() << ": " << text;
    google::protobuf::Value expected;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text, &expected).ok()) << text;
    google::protobuf::Value actual;
    ASSERT_TRUE(actual.ParseFromString(encoded(*parsed))) << text;
    ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(actual, expected))
        << text << "\n"
        << actual.ShortDebugString() << "\n"
        << expected.ShortDebugString();
    ASSERT_EQ(to_value(expected), *parsed) << text;
    structs += expected.has_struct_value() ? 1 : 0;
  }
  EXPECT_GT(structs, 1000);
}

TEST_F(JsonProperty, DamagedIsNeverTakenForMoreThanProtobufTakes) {
  int taken = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = random_json(4);
    text[below(static_cast<uint32_t>(text.size()))] = static_cast<char>(random_());
    const auto parsed = parse_json(text);
    if (!parsed.ok()) continue;
    ++taken;
    google::protobuf::Value expected;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text, &expected).ok()) << absl::CHexEscape(text);
    ASSERT_EQ(to_value(expected), *parsed) << absl::CHexEscape(text);
  }
  EXPECT_GT(taken, 500);
  EXPECT_LT(taken, 5000);
}

}  // namespace
}  // namespace extprocd::wire
