#include "core/wire/dynamic_metadata.h"

#include <string>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "core/wire/json.h"

namespace extprocd::wire {
namespace {

testing::AssertionResult is(const DynamicMetadata& metadata, const std::string& text) {
  google::protobuf::Struct expected;
  google::protobuf::Struct actual;
  if (!google::protobuf::TextFormat::ParseFromString(text, &expected))
    return testing::AssertionFailure() << "bad text";
  if (!actual.ParseFromString(metadata.encode())) return testing::AssertionFailure() << "cannot be parsed";
  if (google::protobuf::util::MessageDifferencer::Equals(actual, expected))
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << "is " << actual.DebugString();
}

TEST(DynamicMetadata, IsNothingUntilSet) {
  DynamicMetadata metadata;
  EXPECT_TRUE(metadata.empty());
  EXPECT_EQ(metadata.encode(), "");
}

TEST(DynamicMetadata, EachNamespaceIsAStructOfItsValues) {
  DynamicMetadata metadata;
  EXPECT_TRUE(metadata.set("a", "text", "").ok());
  EXPECT_TRUE(metadata.set("b", "number", 0.5).ok());
  EXPECT_TRUE(metadata.set("a", "flag", false).ok());
  EXPECT_FALSE(metadata.empty());
  EXPECT_TRUE(is(metadata, R"pb(
    fields {
      key: "a"
      value {
        struct_value {
          fields {
            key: "text"
            value { string_value: "" }
          }
          fields {
            key: "flag"
            value { bool_value: false }
          }
        }
      }
    }
    fields {
      key: "b"
      value {
        struct_value {
          fields {
            key: "number"
            value { number_value: 0.5 }
          }
        }
      }
    })pb"));
}

TEST(DynamicMetadata, ALaterValueWinsWhateverItsType) {
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set("a", "k", "text").ok());
  ASSERT_TRUE(metadata.set("a", "k", true).ok());
  EXPECT_TRUE(is(metadata, R"pb(
    fields {
      key: "a"
      value {
        struct_value {
          fields {
            key: "k"
            value { bool_value: true }
          }
        }
      }
    })pb"));
}

TEST(DynamicMetadata, DetachedHasWhatWasSetAndNothingInCommon) {
  EXPECT_TRUE(DynamicMetadata().detached().empty());
  DynamicMetadata metadata;
  EXPECT_TRUE(metadata.set("a", "k", "1").ok());
  DynamicMetadata other = metadata.detached();
  EXPECT_EQ(other.encode(), metadata.encode());
  EXPECT_TRUE(other.set("a", "k", "2").ok());
  EXPECT_NE(other.encode(), metadata.encode());
}

TEST(DynamicMetadata, ACopyTakesItBackToWhereItWas) {
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set("a", "k", 1.0).ok());
  const DynamicMetadata before = metadata;
  ASSERT_TRUE(metadata.set("a", "k", 2.0).ok());
  ASSERT_TRUE(metadata.set("b", "k", 2.0).ok());
  metadata = before;
  EXPECT_TRUE(is(metadata, R"pb(
    fields {
      key: "a"
      value {
        struct_value {
          fields {
            key: "k"
            value { number_value: 1 }
          }
        }
      }
    })pb"));
}

TEST(DynamicMetadata, TakesAnyValueAsJson) {
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set_json("a", "k", R"({"list": [1, "two", null], "empty": {}})").ok());
  ASSERT_TRUE(metadata.set_json("a", "t", R"("text")").ok());
  EXPECT_TRUE(is(metadata, R"pb(
    fields {
      key: "a"
      value {
        struct_value {
          fields {
            key: "k"
            value {
              struct_value {
                fields {
                  key: "list"
                  value {
                    list_value {
                      values { number_value: 1 }
                      values { string_value: "two" }
                      values { null_value: NULL_VALUE }
                    }
                  }
                }
                fields {
                  key: "empty"
                  value { struct_value {} }
                }
              }
            }
          }
          fields {
            key: "t"
            value { string_value: "text" }
          }
        }
      }
    })pb"));
}

TEST(DynamicMetadata, OfTheGreatestDepthCanBeParsedWithinItsReply) {
  using envoy::service::ext_proc::v3::ProcessingResponse;
  std::string json = "1";
  for (std::size_t i = 0; i < kMaxValueDepth; ++i) json = "{\"k\":" + json + "}";
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set_json("a", "k", json).ok());
  Encoder reply;
  reply.put_bytes(ProcessingResponse::kDynamicMetadataFieldNumber, metadata.encode());
  EXPECT_TRUE(ProcessingResponse().ParseFromString(std::string(reply.view())));
}

TEST(DynamicMetadata, CanBeTyped) {
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set_typed("a", "type.googleapis.com/a.A", "first").ok());
  ASSERT_TRUE(metadata.set_typed("b", "type.googleapis.com/a.B", std::string_view("\0\xFF", 2)).ok());
  ASSERT_TRUE(metadata.set_typed("a", "type.googleapis.com/a.C", "").ok());
  EXPECT_FALSE(metadata.empty());
  EXPECT_EQ(metadata.encode(), "");
  envoy::service::ext_proc::v3::ProcessingResponse reply;
  ASSERT_TRUE(reply.ParseFromString(metadata.encode_typed()));
  ASSERT_EQ(reply.typed_dynamic_metadata().size(), 2U);
  EXPECT_EQ(reply.typed_dynamic_metadata().at("a").type_url(), "type.googleapis.com/a.C");
  EXPECT_EQ(reply.typed_dynamic_metadata().at("a").value(), "");
  EXPECT_EQ(reply.typed_dynamic_metadata().at("b").type_url(), "type.googleapis.com/a.B");
  EXPECT_EQ(reply.typed_dynamic_metadata().at("b").value(), std::string("\0\xFF", 2));
}

TEST(DynamicMetadata, CanBeTakenBackByKeyOrByNamespace) {
  DynamicMetadata metadata;
  EXPECT_FALSE(metadata.remove("a", "k"));
  ASSERT_TRUE(metadata.set("a", "k", true).ok());
  ASSERT_TRUE(metadata.set("a", "l", true).ok());
  ASSERT_TRUE(metadata.set("b", "k", true).ok());
  ASSERT_TRUE(metadata.set_typed("a", "t/u", "1").ok());
  const DynamicMetadata before = metadata;
  EXPECT_FALSE(metadata.remove("a", "other"));
  EXPECT_FALSE(metadata.remove("c", ""));
  EXPECT_TRUE(metadata.remove("a", "k"));
  EXPECT_FALSE(metadata.remove("a", "k"));
  EXPECT_TRUE(metadata.remove("b", "k"));
  EXPECT_TRUE(is(metadata, R"pb(
    fields {
      key: "a"
      value {
        struct_value {
          fields {
            key: "l"
            value { bool_value: true }
          }
        }
      }
    })pb"));
  EXPECT_NE(metadata.encode_typed(), "");
  EXPECT_TRUE(metadata.remove("a", ""));
  EXPECT_TRUE(metadata.empty());
  EXPECT_EQ(metadata.encode() + metadata.encode_typed(), "");
  metadata = before;
  EXPECT_TRUE(metadata.remove("a", "l"));
  EXPECT_TRUE(metadata.remove("a", "k"));
  EXPECT_NE(metadata.encode_typed(), "");
  EXPECT_TRUE(metadata.remove("a", ""));
  EXPECT_FALSE(metadata.empty());
}

TEST(DynamicMetadata, IsLimitedAndWhatIsReplacedOrTakenBackNoLongerCounts) {
  DynamicMetadata metadata;
  const std::string half(DynamicMetadata::kMaxSize / 2, 'x');
  const auto is_too_much = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kResourceExhausted;
  };
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(metadata.set("a", "k", half).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(metadata.set_typed("a", "t/u", half.substr(100)).ok());
  const std::string full = metadata.encode() + metadata.encode_typed();
  EXPECT_TRUE(is_too_much(metadata.set("a", "l", half)));
  EXPECT_TRUE(is_too_much(metadata.set_json("a", "l", "\"" + half + "\"")));
  EXPECT_TRUE(is_too_much(metadata.set_json("a", "l", "1" + std::string(DynamicMetadata::kMaxSize, ' '))));
  EXPECT_TRUE(is_too_much(metadata.set_typed("b", "t/u", half)));
  EXPECT_TRUE(is_too_much(metadata.set_typed("b", "t/" + half, "")));
  EXPECT_EQ(metadata.encode() + metadata.encode_typed(), full);
  ASSERT_TRUE(metadata.remove("a", "k"));
  EXPECT_TRUE(metadata.set("a", "l", half).ok());
  ASSERT_TRUE(metadata.remove("a", ""));
  int entries = 0;
  while (entries < 100000 && metadata.set(std::to_string(entries), "k", true).ok()) ++entries;
  EXPECT_LT(entries, 30000);
  EXPECT_GT(entries, 5000);
}

TEST(DynamicMetadata, RefusesWhatEnvoyCouldNotParse) {
  DynamicMetadata metadata;
  EXPECT_FALSE(metadata.set("", "k", true).ok());
  EXPECT_FALSE(metadata.set("a", "", true).ok());
  EXPECT_FALSE(metadata.set("\xFF", "k", true).ok());
  EXPECT_FALSE(metadata.set("a", "\xFF", true).ok());
  EXPECT_FALSE(metadata.set("a", "k", "\xFF").ok());
  EXPECT_FALSE(metadata.set_json("a", "k", "{").ok());
  EXPECT_FALSE(metadata.set_json("", "k", "1").ok());
  EXPECT_FALSE(metadata.set_json("a", "\xFF", "1").ok());
  EXPECT_FALSE(metadata.set_json("a", "k", "\"\xFF\"").ok());
  EXPECT_FALSE(metadata.set_typed("", "t/u", "").ok());
  EXPECT_FALSE(metadata.set_typed("\xFF", "t/u", "").ok());
  for (const char* type_url : {"", "\xFF/t", "no.slash", "t/"}) {
    EXPECT_FALSE(metadata.set_typed("a", type_url, "").ok()) << type_url;
  }
  EXPECT_TRUE(metadata.empty());
}

}  // namespace
}  // namespace extprocd::wire
