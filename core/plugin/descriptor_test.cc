#include "core/plugin/descriptor.h"

#include <functional>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::plugin {
namespace {

using testing::HasSubstr;

extproc_plugin good() {
  extproc_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = EXTPROC_ABI_MAJOR;
  plugin.abi_minor = EXTPROC_ABI_MINOR;
  plugin.id = "test.plugin";
  plugin.version = "1";
  plugin.build_info = "gcc 12";
  plugin.create = [](const extproc_host*, void**) -> extproc_status { return EXTPROC_OK; };
  plugin.destroy = [](void*) {};
  plugin.on_phase = [](void*, void*, extproc_call*, uint32_t, uint32_t) -> extproc_action {
    return EXTPROC_CONTINUE;
  };
  return plugin;
}

TEST(Descriptor, a_good_one_passes_and_so_does_a_longer_one_of_the_future) {
  extproc_plugin plugin = good();
  EXPECT_TRUE(check_descriptor(&plugin, {}).ok());
  plugin.struct_size += 64;
  EXPECT_TRUE(check_descriptor(&plugin, {}).ok());
}

TEST(Descriptor, each_fault_is_named) {
  static const char* const kRequired[] = {"extproc.config/1", "extproc.teleport/3", nullptr};
  using Break = std::function<void(extproc_plugin&)>;
  const std::vector<std::pair<Break, std::string>> faults = {
      {[](auto& p) { p.struct_size = 0; }, "too small"},
      {[](auto& p) { p.struct_size = offsetof(extproc_plugin, stream_end); }, "struct_size"},
      {[](auto& p) { p.abi_major = 9; }, "9."},
      {[](auto& p) { p.abi_minor = 7; }, "gcc 12"},
      {[](auto& p) { p.id = nullptr; }, "id"},
      {[](auto& p) { p.id = "Upper"; }, "id"},
      {[](auto& p) { p.version = nullptr; }, "version"},
      {[](auto& p) { p.create = nullptr; }, "null"},
      {[](auto& p) { p.destroy = nullptr; }, "null"},
      {[](auto& p) { p.on_phase = nullptr; }, "null"},
      {[](auto& p) { p.phases = 1U << 30; }, "phases"},
      {[](auto& p) { p.stream_state_size = 1 << 20; }, "stream_state_size"},
      {[](auto& p) { p.stream_state_align = 3; }, "stream_state_align"},
      {[](auto& p) { p.stream_state_align = 128; }, "stream_state_align"},
      {[](auto& p) { p.request_body_access = 1; }, "disagree"},
      {[](auto& p) { p.phases = EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY); }, "disagree"},
      {[](auto& p) { p.response_body_access = 9; }, "does not know"},
      {[](auto& p) { p.required_extensions = kRequired; }, "extproc.teleport/3"},
  };
  for (const auto& [damage, part] : faults) {
    extproc_plugin plugin = good();
    damage(plugin);
    EXPECT_THAT(std::string(check_descriptor(&plugin, {"extproc.config/1"}).message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(check_descriptor(nullptr, {}).message()), HasSubstr("null"));
}

}  // namespace
}  // namespace extprocd::plugin
