#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"

namespace extprocd::config {
namespace {

using testing::HasSubstr;
using wire::BodyMode;

std::string first_error(const LoadResult& result) {
  return result.errors.empty() ? "" : result.errors[0].to_string();
}

TEST(DataPlane, a_chain_says_only_what_is_different_there) {
  const LoadResult result = load_text(R"(
[data_plane]
request_body_mode = "BUFFERED"
allow_mode_override = true
max_message_timeout = "2s"

[[plugin]]
name = "a"
module = "a.so"
max_body_bytes = "64KiB"

[[chain]]
name = "default"
plugins = ["a"]

[[chain]]
name = "uploads"
plugins = ["a"]
[chain.match]
path = "/uploads/*"
[chain.data_plane]
request_body_mode = "FULL_DUPLEX_STREAMED"
allow_mode_override = false
)",
                                      "f.toml");
  ASSERT_EQ(first_error(result), "");
  const DataPlane& usual = result.config.chain[0].data_plane;
  EXPECT_EQ(usual.request_body_mode, BodyMode::kBuffered);
  EXPECT_EQ(usual.response_body_mode, std::nullopt);
  EXPECT_TRUE(usual.allow_mode_override);
  const DataPlane& uploads = result.config.chain[1].data_plane;
  EXPECT_EQ(uploads.request_body_mode, BodyMode::kFullDuplexStreamed);
  EXPECT_FALSE(uploads.allow_mode_override);
  EXPECT_EQ(uploads.max_message_timeout, 2.0);
  EXPECT_EQ(result.config.plugin[0].max_body_bytes, 65536U);
}

TEST(DataPlane, what_is_wrong_is_shown_with_its_place) {
  for (const auto& [line, part] : std::initializer_list<std::pair<std::string, std::string>>{
           {"request_body_mode = 'BUFERED'", "f.toml:2:1: "},
           {"request_body_mode = 'BUFERED'", "FULL_DUPLEX_STREAMED"},
           {"response_body_mode = 1", "must be"},
           {"max_message_timeout = '2h'", "3600"},
           {"allow_mode_overide = true", "allow_mode_override"}}) {
    const std::string error = first_error(load_text("[data_plane]\n" + line + "\n", "f.toml"));
    EXPECT_THAT(error, HasSubstr(part)) << line;
  }
}

}  // namespace
}  // namespace extprocd::config
