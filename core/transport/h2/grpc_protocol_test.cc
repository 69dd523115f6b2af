#include "core/transport/h2/grpc_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/http2_frames.h"

namespace extprocd::transport::h2 {
namespace {

using std::chrono::nanoseconds;
using test::gzip;
using testing::Optional;
using namespace std::chrono_literals;

TEST(Prefix, is_read_as_it_was_written) {
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{0x01020304}, std::size_t{0xffffffff}}) {
    std::string bytes;
    Prefix::append(bytes, length);
    ASSERT_EQ(bytes.size(), kMessagePrefix);
    EXPECT_EQ(Prefix::read(bytes).flags, 0);
    EXPECT_EQ(Prefix::read(bytes).length, length);
  }
  EXPECT_EQ(Prefix::read(std::string_view("\xff\x01\x02\x03\x04", 5)).flags, 0xff);
  EXPECT_EQ(Prefix::read(std::string_view("\xff\x01\x02\x03\x04", 5)).length, 0x01020304U);
}

TEST(ParseTimeout, knows_every_unit) {
  EXPECT_THAT(parse_timeout("2H"), Optional(nanoseconds(2h)));
  EXPECT_THAT(parse_timeout("2M"), Optional(nanoseconds(2min)));
  EXPECT_THAT(parse_timeout("2S"), Optional(nanoseconds(2s)));
  EXPECT_THAT(parse_timeout("2m"), Optional(nanoseconds(2ms)));
  EXPECT_THAT(parse_timeout("2u"), Optional(nanoseconds(2us)));
  EXPECT_THAT(parse_timeout("2n"), Optional(nanoseconds(2ns)));
}

TEST(ParseTimeout, takes_one_to_eight_digits) {
  EXPECT_THAT(parse_timeout("0n"), Optional(nanoseconds(0)));
  EXPECT_THAT(parse_timeout("00000001S"), Optional(nanoseconds(1s)));
  EXPECT_THAT(parse_timeout("99999999S"), Optional(nanoseconds(99999999s)));
  EXPECT_EQ(parse_timeout("000000001S"), std::nullopt);
  EXPECT_EQ(parse_timeout("100000000n"), std::nullopt);
}

TEST(ParseTimeout, of_more_than_a_clock_holds_is_the_longest) {
  EXPECT_THAT(parse_timeout("2562047H"), Optional(nanoseconds(2562047h)));
  EXPECT_THAT(parse_timeout("2562048H"), Optional(nanoseconds::max()));
  EXPECT_THAT(parse_timeout("99999999H"), Optional(nanoseconds::max()));
}

TEST(ParseTimeout, refuses_what_is_none) {
  for (const char* text :
       {"", "S", "1", "11", "1s", "1h", "-1S", "+1S", " 1S", "1 S", "1S ", "1.5S", "0x1S", "1SS", "1\xffS"})
    EXPECT_EQ(parse_timeout(text), std::nullopt) << text;
}

TEST(Shortened, leaves_two_kilobytes_and_cuts_between_letters) {
  const std::string fits(2048, 'x');
  EXPECT_EQ(shortened(fits), fits);
  EXPECT_EQ(shortened(fits + "x"), fits);
  const std::string letter = "\xe2\x82\xac";  // three bytes
  for (std::size_t first = 2046; first <= 2048; ++first) {
    const std::string before(first, 'x');
    EXPECT_EQ(shortened(before + letter + "x"), before) << first;
  }
  EXPECT_EQ(shortened(std::string(2045, 'x') + letter + "x"), std::string(2045, 'x') + letter);
  EXPECT_EQ(shortened(std::string(3000, '\x80')), "") << "no letter begins here";
}

TEST(PercentEncoded, leaves_printable_ascii_and_writes_all_else_as_hex) {
  EXPECT_EQ(percent_encoded(""), "");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    char hex[4];
    std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned>(byte));
    const bool stays = byte >= ' ' && byte <= '~' && byte != '%';
    EXPECT_EQ(percent_encoded("a" + text + "b"), "a" + (stays ? text : hex) + "b") << byte;
  }
}

TEST(DecodeBinary, takes_base64_with_padding_and_without) {
  EXPECT_THAT(decode_binary(""), Optional(std::string()));
  EXPECT_THAT(decode_binary("AA=="), Optional(std::string(1, '\0')));
  EXPECT_THAT(decode_binary("AA"), Optional(std::string(1, '\0')));
  EXPECT_THAT(decode_binary("/+8="), Optional(std::string("\xff\xef")));
  EXPECT_THAT(decode_binary("/+8"), Optional(std::string("\xff\xef")));
  EXPECT_THAT(decode_binary("YWJj"), Optional(std::string("abc")));
}

TEST(DecodeBinary, refuses_what_is_not_base64) {
  for (const char* text : {"A", "AAAAA", "A=", "=", "====", "AA=A", "A-B_", "AA\x01=", "%%%%",
                           "AAAA=", "AA..", "A A=", " AA", "AA== "})
    EXPECT_EQ(decode_binary(text), std::nullopt) << text;
}

TEST(Gunzip, gives_back_what_was_compressed) {
  std::string large;
  for (int i = 0; i < 100000; ++i) large += std::to_string(i * 7919 % 10007);
  for (const std::string& text : {std::string(), std::string("a"), std::string(20000, 'x'), large}) {
    const auto result = gunzip(gzip(text), 1 << 20);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, text);
  }
}

TEST(Gunzip, allows_exactly_the_largest_size) {
  const std::string text(50000, 'x');
  EXPECT_TRUE(gunzip(gzip(text), text.size()).ok());
  EXPECT_EQ(gunzip(gzip(text), text.size() - 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(gunzip(gzip(""), 0).ok());
  EXPECT_EQ(gunzip(gzip("a"), 0).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Gunzip, stops_a_bomb_at_the_largest_size) {
  const std::string bomb = gzip(std::string(256 << 20, '\0'));
  ASSERT_LT(bomb.size(), 1U << 19);
  EXPECT_EQ(gunzip(bomb, 1 << 16).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Gunzip, refuses_what_is_cut_short_anywhere) {
  const std::string whole = gzip("some text, some text, some other text");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(gunzip(std::string_view(whole).substr(0, size), 1000).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

TEST(Gunzip, refuses_other_formats_and_a_wrong_sum) {
  EXPECT_EQ(gunzip("plain text", 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(gunzip("\x78\x9c\x4b\x04\x00\x00\x62\x00\x62", 1000).status().code(),
            absl::StatusCode::kInvalidArgument)
      << "zlib's own format";
  std::string changed = gzip("some text");
  changed[changed.size() - 8] ^= 1;
  EXPECT_EQ(gunzip(changed, 1000).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Gunzip, refuses_what_follows_the_end) {
  EXPECT_EQ(gunzip(gzip("a") + "b", 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(gunzip(gzip("a") + gzip("b"), 1000).status().code(), absl::StatusCode::kInvalidArgument)
      << "a second member";
}

}  // namespace
}  // namespace extprocd::transport::h2
