#include "core/server/generation_builder.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/envoy_settings.h"
#include "test/support/loaded_generation.h"

namespace extprocd::server {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::string_view kRedactor = R"(
[[plugin]]
name = "redactor"
module = "json_redactor.so"
[plugin.config]
keys = ["password"]
)";

/// What building a generation of the redactor, which needs whole bodies both ways, says to a [data_plane].
std::vector<std::string> errors_with(const std::string& data_plane) {
  auto result = config::load_text(data_plane + std::string(kRedactor), "f.toml");
  for (const auto& error : result.errors) ADD_FAILURE() << error.to_string();
  result.config.plugins.directory = TEST_PLUGIN_FOLDER;
  auto staging = plugin::Staging::create("");
  EXPECT_TRUE(staging.ok()) << staging.status();
  plugin::ModuleRegistry modules(std::move(*staging), engine::PluginHost::extensions());
  telemetry::Registry registry(2);
  const telemetry::Metrics metrics(registry);
  std::vector<std::string> texts;
  for (const auto& error : build_generation(result.config, modules, registry, metrics).errors) {
    texts.push_back(error.to_string());
  }
  return texts;
}

TEST(GenerationBuilder,
     a_plugin_that_a_stated_body_mode_does_not_suit_is_refused_with_its_place_and_the_mend) {
  EXPECT_THAT(
      errors_with("[data_plane]\nrequest_body_mode = 'GRPC'\nresponse_body_mode = 'NONE'\n"),
      ElementsAre(
          AllOf(HasSubstr("f.toml:5:"), HasSubstr("redactor"), HasSubstr("request_body_mode is GRPC")),
          AllOf(HasSubstr("response_body_mode is NONE"), HasSubstr("set it to STREAMED, BUFFERED"))));
}

TEST(GenerationBuilder, modes_that_suit_or_are_not_stated_or_can_be_overridden_are_no_fault) {
  EXPECT_THAT(errors_with(""), IsEmpty());
  EXPECT_THAT(
      errors_with(
          "[data_plane]\nrequest_body_mode = 'BUFFERED'\nresponse_body_mode = 'FULL_DUPLEX_STREAMED'\n"),
      IsEmpty());
  EXPECT_THAT(errors_with("[data_plane]\nrequest_body_mode = 'NONE'\nallow_mode_override = true\n"),
              IsEmpty());
}

TEST(GenerationBuilder, envoy_is_to_be_told_the_mode_that_suits_the_access) {
  test::LoadedGeneration loaded(config::load_text(kRedactor, "f.toml").config);
  const auto& generation = *loaded.generation();
  const std::string yaml = envoy_settings(generation, generation.chains.entries()[0]).to_yaml("");
  EXPECT_THAT(yaml, AllOf(HasSubstr("request_body_mode: BUFFERED"), HasSubstr("response_body_mode: BUFFERED"),
                          HasSubstr("response_header_mode: SEND")));
}

}  // namespace
}  // namespace extprocd::server
