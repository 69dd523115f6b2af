// Wrong options of the scripted plugin, which the scenarios are made of.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/plugin_host.h"
#include "core/plugin/module.h"
#include "core/server/generation_builder.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"

namespace extprocd::conformance {
namespace {

using testing::HasSubstr;

/// What a server says of a scripted plugin with these lines in its [plugin.config].
std::string errors_of(const std::string& module, const std::string& lines) {
  config::LoadResult loaded = config::load_text(
      "[[plugin]]\nname = 'p'\nmodule = 'scripted_" + module + ".so'\n[plugin.config]\n" + lines,
      "test.toml");
  EXPECT_TRUE(loaded.errors.empty());
  loaded.config.plugins.directory = TEST_MODULES;
  telemetry::Registry registry{2};
  const telemetry::Metrics metrics{registry};
  auto staging = plugin::Staging::create("");
  EXPECT_TRUE(staging.ok()) << staging.status();
  plugin::ModuleRegistry modules(std::move(*staging), engine::PluginHost::extensions());
  const server::BuildResult built = server::build_generation(loaded.config, modules, registry, metrics);
  std::string text;
  for (const auto& error : built.errors) text += error.to_string() + "\n";
  return text;
}

TEST(ScriptedPlugin, takes_what_is_right) {
  EXPECT_EQ(errors_of("stream", "request_body = { recut = 5, append = 'x', at = 'end', set = ['a: b'] }"),
            "");
  EXPECT_EQ(errors_of("whole", "response_body = { replace = ['a', ''], at = 2 }"), "");
  EXPECT_EQ(errors_of("none",
                      "request_headers = { skip = ['response_headers'], reply = { pieces = [''], trailers = "
                      "['a: b'] } }"),
            "");
}

TEST(ScriptedPlugin, says_what_is_wrong_and_where) {
  EXPECT_THAT(errors_of("none", "request_headers.set = ['nothing']"),
              HasSubstr("test.toml:5:17: plugin 'p': 'nothing' must be \"name: value\""));
  EXPECT_THAT(errors_of("none", "request_headers.sett = []"), HasSubstr("did you mean 'set'?"));
  EXPECT_THAT(errors_of("none", "request_headers.set = 'a: b'"), HasSubstr("must be an array of texts"));
  EXPECT_THAT(errors_of("none", "request_headers.skip = ['somewhere']"),
              HasSubstr("'somewhere' is no phase"));
  EXPECT_THAT(errors_of("none", "request_headers.copy = ['a: elsewhere b']"),
              HasSubstr("begins with none of"));
  EXPECT_THAT(errors_of("none", "request_headers.refused = 'perhaps'"),
              HasSubstr("neither \"fail\" nor \"ignore\""));
  EXPECT_THAT(errors_of("none", "request_headers.fail.code = 17"), HasSubstr("17 is not between 1 and 16"));
  EXPECT_THAT(errors_of("none", "request_headers = { finish = true, throw = 'x' }"),
              HasSubstr("ends in one way"));
  EXPECT_THAT(errors_of("none", "request_headers.reply = { body = 'a', pieces = ['b'] }"),
              HasSubstr("a body or pieces"));
  EXPECT_THAT(errors_of("none", "request_headers.reply.trailers = ['a: b']"),
              HasSubstr("belong to a reply in pieces"));
  EXPECT_THAT(errors_of("observe", "request_body.at = 'middle'"), HasSubstr("or \"end\""));
  EXPECT_THAT(errors_of("observe", "request_body.clear = true"), HasSubstr("may not change bodies"));
  EXPECT_THAT(errors_of("whole", "request_body.hold = 2"), HasSubstr("the module whose access is stream"));
  EXPECT_THAT(errors_of("stream", "request_body = { clear = true, hold = 2 }"),
              HasSubstr("changed in one way"));
  EXPECT_THAT(errors_of("stream", "request_body.replace = ['', 'a']"), HasSubstr("must be two texts"));
}

}  // namespace
}  // namespace extprocd::conformance
