#include "core/http/header_syntax.h"

#include <string>

#include <gtest/gtest.h>

namespace extprocd::http {
namespace {

TEST(HeaderSyntax, names_are_tokens_or_pseudo_headers) {
  EXPECT_TRUE(is_valid_name("x-tenant"));
  EXPECT_TRUE(is_valid_name("X-Tenant_1.2~!#$%&'*+^`|"));
  EXPECT_TRUE(is_valid_name(":path"));
  for (const std::string bad : {"", ":", "a b", "a:b", "::a", "a\n", "a\xc3\xa9", "a\"", "a/b", "a{"}) {
    EXPECT_FALSE(is_valid_name(bad)) << bad;
  }
  EXPECT_FALSE(is_valid_name(std::string("a\0b", 3)));
  EXPECT_TRUE(is_valid_name(std::string(16384, 'a')));
  EXPECT_FALSE(is_valid_name(std::string(16385, 'a')));
}

TEST(HeaderSyntax, values_have_no_control_characters) {
  EXPECT_TRUE(is_valid_value(""));
  EXPECT_TRUE(is_valid_value("a b\tc"));
  EXPECT_TRUE(is_valid_value("gr\xc3\xbc\xff"));
  for (const std::string bad : {"a\nb", "a\rb", "\x01", "\x7f"}) EXPECT_FALSE(is_valid_value(bad));
  EXPECT_FALSE(is_valid_value(std::string("a\0b", 3)));
  EXPECT_FALSE(is_valid_value(std::string(16385, 'a')));
}

TEST(HeaderSyntax, lower_case_copies_only_where_needed) {
  Arena arena;
  const std::string lower = "x-a";
  EXPECT_EQ(lower_case(lower, arena).data(), lower.data());
  EXPECT_EQ(lower_case("X-A", arena), "x-a");
  EXPECT_TRUE(same_name("X-A", "x-a"));
  EXPECT_FALSE(same_name("x-a", "x-ab"));
}

TEST(HeaderSyntax, upper_case_and_other_bytes_are_seen_at_every_place_of_every_length) {
  for (std::size_t size = 0; size <= 20; ++size) {
    for (const char other : {'a', 'z', '@', '[', '\x7f', '\xc1', '\xda', '\0'}) {
      const bool other_is_ascii = size == 0 || static_cast<unsigned char>(other) < 0x80;
      std::string text(size, other);
      EXPECT_FALSE(scan_name(text).has_upper_case) << size;
      EXPECT_EQ(scan_name(text).is_ascii, other_is_ascii) << size;
      for (std::size_t at = 0; at < size; ++at) {
        for (const char upper : {'A', 'M', 'Z'}) {
          text[at] = upper;
          EXPECT_TRUE(scan_name(text).has_upper_case) << size << " at " << at;
        }
        text[at] = '\x80';
        EXPECT_FALSE(scan_name(text).is_ascii) << size << " at " << at;
        EXPECT_FALSE(scan_name(text).has_upper_case) << size << " at " << at;
        text[at] = other;
      }
    }
  }
}

TEST(HeaderSyntax, a_status_is_three_digits) {
  EXPECT_EQ(parse_status("204"), 204U);
  for (const auto* bad : {"", "20", "2000", "2x4", "099", "600", "+20", " 20"})
    EXPECT_EQ(parse_status(bad), 0U) << bad;
}

}  // namespace
}  // namespace extprocd::http
