#include "core/http/utf8.h"

#include <cstdint>
#include <initializer_list>
#include <string>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

namespace extprocd::http {
namespace {

bool protobuf_takes(std::string_view text) {
  // Value.string_value is field 3; all texts here are shorter than 128 bytes.
  const std::string encoded = "\x1a" + std::string(1, static_cast<char>(text.size())) + std::string(text);
  google::protobuf::Value value;
  return value.ParseFromString(encoded);
}

std::string from_bytes(std::initializer_list<uint32_t> bytes) {
  std::string text;
  for (const uint32_t byte : bytes) text += static_cast<char>(byte);
  return text;
}

TEST(Utf8, AgreesWithProtobufOnEverySequence) {
  const google::protobuf::LogSilencer silencer;
  // Bytes at which a rule begins or ends, as every byte of a sequence of up to four, alone and behind ASCII.
  const std::initializer_list<uint32_t> edges = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
                                                 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
                                                 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  const auto check = [](std::string text) {
    EXPECT_EQ(is_utf8(text), protobuf_takes(text)) << testing::PrintToString(text);
    text = "plain text " + text;
    EXPECT_EQ(is_utf8(text), protobuf_takes(text)) << testing::PrintToString(text);
  };
  for (uint32_t a = 0; a < 256; ++a) {
    check(from_bytes({a}));
    for (uint32_t b = 0; b < 256; b += 3) check(from_bytes({a, b}));
  }
  for (const uint32_t a : edges) {
    for (const uint32_t b : edges) {
      for (const uint32_t c : edges) {
        check(from_bytes({a, b, c}));
        for (const uint32_t d : {0x41, 0x7F, 0x80, 0xBF, 0xC2}) check(from_bytes({a, b, c, d}));
      }
    }
  }
}

TEST(Utf8, AByteOutsideOfAsciiIsSeenAtEveryPlaceOfEveryLength) {
  for (std::size_t size = 0; size <= 40; ++size) {
    std::string text(size, '\x7F');
    EXPECT_TRUE(is_ascii(text)) << size;
    for (std::size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      EXPECT_FALSE(is_ascii(text)) << size << " at " << at;
      text[at] = '\x7F';
    }
  }
}

TEST(Utf8, RepairReplacesOnlyWhatIsIllFormed) {
  EXPECT_EQ(repair_utf8(""), "");
  EXPECT_EQ(repair_utf8("caf\xC3\xA9 \xF0\x9F\x98\x80"), "caf\xC3\xA9 \xF0\x9F\x98\x80");
  EXPECT_EQ(repair_utf8("a\xFF"
                        "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(repair_utf8("\xC3"), "\xEF\xBF\xBD");
  EXPECT_TRUE(is_utf8(repair_utf8("\xE2\x82\xED\xA0\x80\xF8 text \xF0\x9F")));
}

}  // namespace
}  // namespace extprocd::http
