#include "core/wire/attributes.h"

#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "core/wire/request_view.h"

namespace extprocd::wire {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;

std::string encoded(const std::string& text) {
  ProcessingRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request.SerializeAsString();
}

std::string with_attribute(const std::string& name, const std::string& value) {
  return encoded("attributes { key: \"envoy.filters.http.ext_proc\" value { fields { key: \"" + name +
                 "\" value { " + value + " } } } }");
}

void take(AttributeReader& reader, const std::string& message) {
  RequestView view;
  ASSERT_TRUE(view.parse(message).ok());
  EXPECT_TRUE(reader.add(view.attributes()));
}

void take(MetadataReader& reader, const std::string& message) {
  RequestView view;
  ASSERT_TRUE(view.parse(message).ok());
  reader.update(view.metadata_context());
}

std::optional<std::string> text_of(const std::string& value) {
  AttributeReader reader;
  take(reader, with_attribute("a", value));
  return reader.get("a");
}

TEST(Attributes, AreTextWhateverTheirType) {
  EXPECT_EQ(text_of(R"(string_value: "/path?\"q\"")"), "/path?\"q\"");
  EXPECT_EQ(text_of("bool_value: true"), "true");
  EXPECT_EQ(text_of("bool_value: false"), "false");
  EXPECT_EQ(text_of("number_value: 0"), "0");
  EXPECT_EQ(text_of("number_value: 8080"), "8080");
  EXPECT_EQ(text_of("number_value: 1000000"), "1000000");
  EXPECT_EQ(text_of("number_value: 1750000000123"), "1750000000123");
  EXPECT_EQ(text_of("number_value: -12.25"), "-12.25");
  EXPECT_EQ(text_of("number_value: 0.1"), "0.1");
  EXPECT_EQ(text_of("number_value: 1e300"), "1e+300");
  EXPECT_EQ(text_of("null_value: NULL_VALUE"), "null");
  EXPECT_EQ(
      text_of(R"(list_value { values { number_value: 1 } values { string_value: "\"\\\n" } values {} })"),
      R"([1,"\"\\\u000a",null])");
  EXPECT_EQ(text_of(R"(struct_value {
                         fields { key: "b" value { bool_value: true } }
                         fields { key: "a" value { struct_value {} } }
                         fields { key: "c" value { number_value: nan } } })"),
            R"({"a":{},"b":true,"c":null})");
}

TEST(Attributes, OfACopyStayAsTheyAre) {
  for (const bool decoded : {false, true}) {
    AttributeReader reader;
    EXPECT_EQ(reader.copy().get("a"), std::nullopt);
    take(reader, with_attribute("a", "number_value: 1"));
    if (decoded) {
      EXPECT_NE(reader.value("a"), nullptr);
    }
    const AttributeReader copy = reader.copy();
    take(reader, with_attribute("a", "number_value: 2"));
    EXPECT_EQ(copy.get("a"), "1");
    EXPECT_EQ(reader.get("a"), "2");
  }
}

TEST(Metadata, OfACopyStaysAsItIs) {
  const auto message = [](const std::string& value) {
    return encoded(
        "metadata_context { filter_metadata { key: 'n' value { fields { key: 'k' value { "
        "string_value: '" +
        value + "' } } } } }");
  };
  MetadataReader reader;
  take(reader, message("1"));
  EXPECT_EQ(reader.get("n", "k"), "1");
  const MetadataReader copy = reader.copy();
  take(reader, message("2"));
  EXPECT_EQ(copy.get("n", "k"), "1");
  EXPECT_EQ(reader.get("n", "k"), "2");
}

TEST(Attributes, AreAbsentUntilTheyCome) {
  AttributeReader reader;
  EXPECT_EQ(reader.get("a"), std::nullopt);
  take(reader, with_attribute("b", "bool_value: true"));
  EXPECT_EQ(reader.get("a"), std::nullopt);
  EXPECT_EQ(reader.get("b"), "true");
}

TEST(Attributes, OfTheRequestStayWhenThoseOfTheResponseCome) {
  AttributeReader reader;
  take(reader, with_attribute("request.path", R"(string_value: "/")"));
  EXPECT_EQ(reader.get("request.path"), "/");
  take(reader, with_attribute("response.code", "number_value: 200"));
  take(reader, with_attribute("response.code", "number_value: 404"));
  EXPECT_EQ(reader.get("request.path"), "/");
  EXPECT_EQ(reader.get("response.code"), "404");
}

TEST(Attributes, OutliveTheMessage) {
  AttributeReader reader;
  {
    std::string message =
        with_attribute("a", R"(string_value: "a text too long for a string's own storage")");
    take(reader, message);
    message.assign(message.size(), 'x');
  }
  EXPECT_EQ(reader.get("a"), "a text too long for a string's own storage");
}

TEST(Attributes, UnderAnotherKeyAreIgnored) {
  AttributeReader reader;
  take(reader,
       encoded(R"(attributes { key: "other" value { fields { key: "a" value { bool_value: true } } } })"));
  EXPECT_EQ(reader.get("a"), std::nullopt);
}

TEST(Attributes, OfAllMessagesTogetherAreLimitedButRepetitionsCountOnce) {
  AttributeReader reader;
  const auto entry = [](const std::string& name) {
    ProcessingRequest request;
    auto& fields = *(*request.mutable_attributes())["envoy.filters.http.ext_proc"].mutable_fields();
    fields[name].set_string_value(std::string(1000, 'x'));
    const std::string bytes = request.SerializeAsString();
    RequestView view;
    EXPECT_TRUE(view.parse(bytes).ok());
    return std::string(view.attributes()[0]);
  };
  const std::string same = entry("same");
  for (int i = 0; i < 10000; ++i) ASSERT_TRUE(reader.add(same));
  int added = 0;
  while (added < 10000 && reader.add(entry(std::to_string(added)))) ++added;
  EXPECT_GT(added, 500);
  EXPECT_LT(added, 3000);
  EXPECT_FALSE(reader.add(std::string((1 << 20) + 1, 'x')));
}

TEST(Attributes, ThatCannotBeDecodedAreLeftOut) {
  AttributeReader reader;
  take(reader, with_attribute("a", "bool_value: true"));
  EXPECT_TRUE(reader.add("\x0A\xFF"));
  EXPECT_EQ(reader.get("a"), "true");
}

constexpr const char* kMetadata = R"pb(
  metadata_context {
    filter_metadata {
      key: "ns"
      value {
        fields {
          key: "plain"
          value { string_value: "text" }
        }
        fields {
          key: "dotted.key"
          value { number_value: 1 }
        }
        fields {
          key: "outer"
          value {
            struct_value {
              fields {
                key: "in.ner"
                value { bool_value: true }
              }
            }
          }
        }
      }
    }
  })pb";

TEST(Metadata, IsFoundByNamespaceAndPath) {
  MetadataReader reader;
  EXPECT_EQ(reader.get("ns", "plain"), std::nullopt);
  take(reader, encoded(kMetadata));
  EXPECT_EQ(reader.get("ns", "plain"), "text");
  EXPECT_EQ(reader.get("ns", "dotted.key"), "1");
  EXPECT_EQ(reader.get("ns", "outer.in.ner"), "true");
  EXPECT_EQ(reader.get("ns", "outer"), R"({"in.ner":true})");
  for (const char* absent : {"", ".", "plain.", ".plain", "plain.x", "outer.in", "outer..in.ner", "dotted"}) {
    EXPECT_EQ(reader.get("ns", absent), std::nullopt) << absent;
  }
  EXPECT_EQ(reader.get("other", "plain"), std::nullopt);
  EXPECT_EQ(reader.json("ns"), R"({"dotted.key":1,"outer":{"in.ner":true},"plain":"text"})");
  EXPECT_EQ(reader.json("other"), std::nullopt);
}

TEST(Metadata, OfTheLastMessageCounts) {
  MetadataReader reader;
  take(reader, encoded(kMetadata));
  EXPECT_EQ(reader.get("ns", "plain"), "text");
  take(reader, encoded("request_body {}"));
  EXPECT_EQ(reader.get("ns", "plain"), "text");
  take(reader, encoded("metadata_context {}"));
  EXPECT_EQ(reader.get("ns", "plain"), std::nullopt);
}

TEST(Metadata, ThatComesInPartsIsPutTogether) {
  MetadataReader reader;
  take(reader, encoded(kMetadata) + encoded(R"(metadata_context { filter_metadata { key: "two" } })"));
  EXPECT_EQ(reader.get("ns", "plain"), "text");
  EXPECT_EQ(reader.json("two"), "{}");
}

TEST(Attributes, AreValuesOfTheirTypes) {
  AttributeReader reader;
  EXPECT_EQ(reader.value("a"), nullptr);
  take(reader, with_attribute("text", R"(string_value: "1")"));
  take(reader, with_attribute("number", "number_value: 8080"));
  take(reader, with_attribute("flag", "bool_value: false"));
  take(reader, with_attribute("nothing", "null_value: NULL_VALUE"));
  take(reader, with_attribute("unset", ""));
  take(reader, with_attribute("list", R"(list_value { values { number_value: 1 } values {} })"));
  take(reader, with_attribute("object", R"(struct_value {
         fields { key: "b" value { bool_value: true } } fields { key: "a" value { struct_value {} } } })"));
  const auto is = [&](const char* name, const Value& expected) {
    const Value* value = reader.value(name);
    ASSERT_NE(value, nullptr) << name;
    EXPECT_EQ(*value, expected) << name;
  };
  is("text", {"1"});
  is("number", {8080.0});
  is("flag", {false});
  is("nothing", {});
  is("unset", {});
  is("list", {Value::List{{1.0}, {}}});
  is("object", {Value::Struct{{"a", {Value::Struct{}}}, {"b", {true}}}});
  EXPECT_EQ(reader.value("other"), nullptr);
  take(reader, with_attribute("flag", "number_value: 1"));
  is("flag", {1.0});
  is("text", {"1"});
}

TEST(Metadata, IsValuesByNamespace) {
  MetadataReader reader;
  EXPECT_EQ(reader.value("ns"), nullptr);
  take(reader, encoded(kMetadata));
  const Value* space = reader.value("ns");
  ASSERT_NE(space, nullptr);
  EXPECT_EQ(space->size(), 3U);
  ASSERT_NE(space->find("plain"), nullptr);
  EXPECT_EQ(*space->find("plain"), Value{"text"});
  EXPECT_EQ(*space->find("outer"), (Value{Value::Struct{{"in.ner", {true}}}}));
  EXPECT_EQ(reader.value("ns"), space);
  EXPECT_EQ(reader.value("other"), nullptr);
  take(reader, encoded(R"(metadata_context { filter_metadata { key: "ns" value {} } })"));
  ASSERT_NE(reader.value("ns"), nullptr);
  EXPECT_EQ(*reader.value("ns"), Value{Value::Struct{}});
}

TEST(Metadata, MayBeTyped) {
  MetadataReader reader;
  EXPECT_FALSE(reader.typed("ns"));
  take(reader, encoded(R"(metadata_context {
         typed_filter_metadata { key: "ns" value { type_url: "t/u" value: "\000b" } } filter_metadata { key: "plain" } })"));
  const auto typed = reader.typed("ns");
  ASSERT_TRUE(typed);
  EXPECT_EQ(typed->type_url, "t/u");
  EXPECT_EQ(typed->message, std::string_view("\0b", 2));
  EXPECT_FALSE(reader.typed("plain"));
  EXPECT_EQ(reader.value("ns"), nullptr);
  take(reader, encoded("metadata_context {}"));
  EXPECT_FALSE(reader.typed("ns"));
}

TEST(Metadata, ThatCannotBeDecodedCountsAsEmpty) {
  MetadataReader reader;
  take(reader, encoded(kMetadata));
  const std::vector<std::string_view> broken = {"\x0A\xFF"};
  reader.update(broken);
  EXPECT_EQ(reader.get("ns", "plain"), std::nullopt);
  EXPECT_EQ(reader.json("ns"), std::nullopt);
}

}  // namespace
}  // namespace extprocd::wire
