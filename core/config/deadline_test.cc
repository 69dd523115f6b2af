#include "core/config/deadline.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"

namespace extprocd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string first_error(const LoadResult& result) {
  return result.errors.empty() ? "" : result.errors[0].to_string();
}

std::string chain(const std::string& keys) { return "[[chain]]\nname = 'c'\nplugins = []\n" + keys; }

TEST(Deadline, a_timeout_is_for_all_phases_but_those_that_have_their_own) {
  const LoadResult result = load_text(R"(
[[plugin]]
name = "a"
module = "a.so"
timeout = "20ms"
[plugin.timeouts]
request_body = "1s"
response_headers = 0
)",
                                      "f.toml");
  ASSERT_EQ(first_error(result), "");
  EXPECT_THAT(result.config.plugin[0].timeouts, ElementsAre(0.02, 1, 0.02, 0, 0.02, 0.02));
}

TEST(Deadline, a_chain_has_its_own_or_that_of_all_or_one_below_the_data_planes) {
  const LoadResult unsaid = load_text(chain(""), "f.toml");
  ASSERT_EQ(first_error(unsaid), "");
  EXPECT_EQ(unsaid.config.chain[0].deadline, 10);
  const LoadResult of_all = load_text("[chains]\ndeadline = '2s'\n" + chain(""), "f.toml");
  ASSERT_EQ(first_error(of_all), "");
  EXPECT_EQ(of_all.config.chain[0].deadline, 2);
  const LoadResult own = load_text("[chains]\ndeadline = '2s'\n" + chain("deadline = 0"), "f.toml");
  ASSERT_EQ(first_error(own), "");
  EXPECT_EQ(own.config.chain[0].deadline, 0);
  const LoadResult below = load_text("[data_plane]\nmessage_timeout = '200ms'\n" + chain(""), "f.toml");
  ASSERT_EQ(first_error(below), "");
  EXPECT_DOUBLE_EQ(below.config.chain[0].deadline, 0.18);
  const LoadResult longer = load_text(
      "[data_plane]\nmessage_timeout = '200ms'\nmax_message_timeout = '1s'\n" + chain(""), "f.toml");
  ASSERT_EQ(first_error(longer), "");
  EXPECT_DOUBLE_EQ(longer.config.chain[0].deadline, 0.9);
}

TEST(Deadline, one_that_the_data_plane_would_not_wait_for_is_refused_with_its_place) {
  const std::string stated = "[data_plane]\nmessage_timeout = '200ms'\n";
  for (const std::string& text : {stated + chain("deadline = '200ms'"), stated + chain("deadline = 0"),
                                  stated + "[chains]\ndeadline = '1s'\n",
                                  chain("deadline = '1s'\n[chain.data_plane]\nmessage_timeout = '200ms'")}) {
    EXPECT_THAT(first_error(load_text(text, "f.toml")), HasSubstr("deadline must be less than 200ms"))
        << text;
  }
  const std::string asked_for = "max_message_timeout = '2s'\n";
  EXPECT_EQ(first_error(load_text(stated + asked_for + chain("deadline = '1s'"), "f.toml")), "");
}

TEST(Deadline, what_is_wrong_is_shown_with_its_place) {
  const std::string plugin = "[[plugin]]\nname = 'a'\nmodule = 'a.so'\n";
  EXPECT_THAT(first_error(load_text(plugin + "timeout = '2h'", "f.toml")), HasSubstr("f.toml:4:1: "));
  EXPECT_THAT(first_error(load_text(plugin + "[plugin.timeouts]\nrequest_hedaers = 1", "f.toml")),
              HasSubstr("did you mean 'request_headers'"));
  EXPECT_THAT(first_error(load_text(chain("deadline = 'soon'"), "f.toml")), HasSubstr("f.toml:4:1: "));
}

}  // namespace
}  // namespace extprocd::config
