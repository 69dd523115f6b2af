#include "test/support/loaded_generation.h"

#include <utility>

#include <gtest/gtest.h>

#include "core/server/generation_builder.h"

namespace extprocd::test {

LoadedGeneration::LoadedGeneration(config::Config config) {
  if (config.plugins.directory.empty()) config.plugins.directory = TEST_PLUGINS;
  auto staging = plugin::Staging::create("");
  EXPECT_TRUE(staging.ok()) << staging.status();
  modules_ = std::make_unique<plugin::ModuleRegistry>(std::move(*staging), engine::PluginHost::extensions());
  server::BuildResult built = server::build_generation(config, *modules_, registry_, metrics_, &workers_);
  for (const auto& error : built.errors) ADD_FAILURE() << error.to_string();
  generation_ = std::move(built.generation);
}

}  // namespace extprocd::test
