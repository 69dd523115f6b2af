#pragma once

#include <memory>
#include <string>
#include <utility>

#include <extproc/abi.h>

#include "core/engine/plugin_host.h"
#include "test/fuzz/input.h"

namespace extprocd::fuzz {

/// A plugin that does what bytes say, through the C contract: every host call with odd arguments, and every answer.
/// The program is shared by the plugins of a chain and is over when its bytes are; then all of them just continue.
class BytePlugin {
 public:
  /// The access is EXTPROC_ACCESS_*, but not none.
  BytePlugin(std::string name, uint32_t request_access, uint32_t response_access,
             telemetry::Registry& registry);

  [[nodiscard]] const extproc_plugin& descriptor() const { return descriptor_; }
  [[nodiscard]] engine::PluginHost& host() { return *host_; }
  void set_program(Input* program) { program_ = program; }

 private:
  extproc_action run(extproc_call* call, uint32_t phase);
  void host_call(uint8_t which, extproc_call* call, uint32_t phase);
  void body_call(uint8_t which, extproc_call* call);
  void reply_in_pieces(uint8_t which, extproc_call* call);
  void ask_for_control(extproc_call* call);
  void look(extproc_call* call);
  std::string_view text();

  extproc_plugin descriptor_{};
  std::unique_ptr<engine::PluginHost> host_;
  Input* program_ = nullptr;
};

}  // namespace extprocd::fuzz
