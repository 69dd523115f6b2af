#include "core/config/address.h"

#include <string>

#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

TEST(AddressTest, takes_what_an_operator_writes) {
  for (const auto& [text, normal] : std::initializer_list<std::pair<const char*, const char*>>{
           {"127.0.0.1:18080", "127.0.0.1:18080"},
           {"localhost:0", "localhost:0"},
           {"[::1]:80", "[::1]:80"},
           {"[::]:80", "[::]:80"},
           {":18080", "[::]:18080"},
           {"unix:/run/extprocd.sock", "unix:/run/extprocd.sock"}}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address.ok()) << text << ": " << address.status();
    EXPECT_EQ(address->to_string(), normal);
  }
}

TEST(AddressTest, says_what_to_write_instead) {
  for (const std::string text :
       {"", "localhost", "localhost:", "localhost:x", "localhost:65536", "localhost:-1", "::1:80", "[]:80",
        "a b:80", "unix:", "unix:relative", "http://localhost:80", "[::1]80"}) {
    EXPECT_FALSE(parse_address(text).ok()) << text;
  }
  EXPECT_FALSE(parse_address("unix:/" + std::string(107, 'x')).ok());
  EXPECT_TRUE(parse_address("unix:/" + std::string(106, 'x')).ok());
  EXPECT_FALSE(parse_address(std::string("unix:/a\0b", 9)).ok());
}

}  // namespace
}  // namespace extprocd::config
