#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"

namespace extprocd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> errors_of(std::string_view text) {
  std::vector<std::string> texts;
  for (const auto& error : load_text(text, "f.toml").errors) texts.push_back(error.to_string());
  return texts;
}

TEST(TlsReaderTest, without_the_table_there_is_no_tls) {
  EXPECT_FALSE(load_text("[server]\n", "f.toml").config.server.tls);
}

TEST(TlsReaderTest, relative_paths_start_at_the_folder_of_the_configuration_file) {
  const std::string text =
      "[server.tls]\ncertificate = 'tls/server.pem'\nkey = '/k/server.key'\nclient_ca = '../ca.pem'\n";
  const LoadResult result = load_text(text, "/etc/extprocd/extprocd.toml");
  ASSERT_TRUE(result.errors.empty()) << result.errors[0].to_string();
  const Tls& tls = *result.config.server.tls;
  EXPECT_EQ(tls.certificate, "/etc/extprocd/tls/server.pem");
  EXPECT_EQ(tls.key, "/k/server.key");
  EXPECT_EQ(tls.client_ca, "/etc/extprocd/../ca.pem");
  EXPECT_EQ(tls.min_version, TlsVersion::k12);
  EXPECT_EQ(tls.position.line, 1U);
  EXPECT_EQ(load_text(text, "here.toml").config.server.tls->certificate, "tls/server.pem");
}

TEST(TlsReaderTest, half_a_configuration_is_an_error_that_says_what_is_missing) {
  EXPECT_THAT(
      errors_of("[server.tls]\nkey = 'k'\n"),
      ElementsAre("f.toml:1:9: server.tls.certificate is missing: name the PEM file with the server's "
                  "certificate chain"));
  EXPECT_THAT(errors_of("[server.tls]\ncertificate = 'c'\n"),
              ElementsAre("f.toml:1:9: server.tls.key is missing: name the PEM file with the key of "
                          "server.tls.certificate"));
  EXPECT_THAT(errors_of("[server.tls]\nclient_ca = 'c'\n"),
              ElementsAre(HasSubstr("certificate is missing"), HasSubstr("key is missing")));
}

TEST(TlsReaderTest, wrong_values_are_errors_at_their_place) {
  const std::string whole = "[server.tls]\ncertificate = 'c'\nkey = 'k'\n";
  EXPECT_THAT(errors_of("[server.tls]\ncertificate = ''\nkey = 'k'\n"),
              ElementsAre("f.toml:2:1: server.tls.certificate must name a PEM file"));
  EXPECT_THAT(errors_of("[server.tls]\ncertificate = 'c'\nkey = \"a\\u0000b\"\n"),
              ElementsAre("f.toml:3:1: server.tls.key has a NUL byte"));
  EXPECT_THAT(errors_of(whole + "client_ca = ''\n"),
              ElementsAre("f.toml:4:1: server.tls.client_ca must name a PEM file"));
  EXPECT_THAT(errors_of(whole + "min_version = '1.1'\n"),
              ElementsAre("f.toml:4:1: server.tls.min_version must be one of 1.2, 1.3, not '1.1'"));
  EXPECT_THAT(errors_of(whole + "min_version = 1.2\n"),
              ElementsAre("f.toml:4:1: server.tls.min_version must be a string, not a float"));
  EXPECT_THAT(errors_of(whole + "client-ca = 'x'\n"),
              ElementsAre(HasSubstr("unknown key 'server.tls.client-ca'; did you mean 'client_ca'?")));
  EXPECT_THAT(errors_of("[server]\ntls = true\n"),
              ElementsAre("f.toml:2:1: server.tls must be a table, not a boolean"));
}

}  // namespace
}  // namespace extprocd::config
