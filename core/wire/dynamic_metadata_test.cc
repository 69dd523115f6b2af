#include "core/wire/dynamic_metadata.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

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
  EXPECT_TRUE(metadata.set("a", "text", ""));
  EXPECT_TRUE(metadata.set("b", "number", 0.5));
  EXPECT_TRUE(metadata.set("a", "flag", false));
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
  ASSERT_TRUE(metadata.set("a", "k", "text"));
  ASSERT_TRUE(metadata.set("a", "k", true));
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

TEST(DynamicMetadata, ACopyTakesItBackToWhereItWas) {
  DynamicMetadata metadata;
  ASSERT_TRUE(metadata.set("a", "k", 1.0));
  const DynamicMetadata before = metadata;
  ASSERT_TRUE(metadata.set("a", "k", 2.0));
  ASSERT_TRUE(metadata.set("b", "k", 2.0));
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

TEST(DynamicMetadata, RefusesWhatEnvoyCouldNotParse) {
  DynamicMetadata metadata;
  EXPECT_FALSE(metadata.set("", "k", true));
  EXPECT_FALSE(metadata.set("a", "", true));
  EXPECT_FALSE(metadata.set("\xFF", "k", true));
  EXPECT_FALSE(metadata.set("a", "\xFF", true));
  EXPECT_FALSE(metadata.set("a", "k", "\xFF"));
  EXPECT_TRUE(metadata.empty());
}

}  // namespace
}  // namespace extprocd::wire
