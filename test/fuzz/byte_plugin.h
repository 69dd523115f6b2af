#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <extproc/abi.h>

#include "core/engine/plugin_host.h"
#include "core/engine/seam.h"
#include "test/fuzz/input.h"

namespace extprocd::fuzz {

class BytePlugin;

/// One stream's run through the plugins of a chain: what they do, together, and what has become of them. The program is
/// over when its bytes are; then all of them just continue.
struct Run {
  Input program{{}};
  engine::Clock::time_point* time = nullptr;  ///< that callbacks may let pass
  const BytePlugin* waits = nullptr;          ///< the plugin that waits
  bool over = false;                          ///< a plugin was told that the stream is
  int begun = 0;                              ///< plugins, that have not been told of the end
  std::vector<std::pair<const BytePlugin*, extproc_resume_handle>> handles;
};

/// A plugin that does what bytes say, through the C contract: every host call with odd arguments, and every answer.
class BytePlugin {
 public:
  /// The access is EXTPROC_ACCESS_*, but not none.
  BytePlugin(std::string name, uint32_t request_access, uint32_t response_access,
             telemetry::Registry& registry);

  [[nodiscard]] const extproc_plugin& descriptor() const { return descriptor_; }
  [[nodiscard]] engine::PluginHost& host() { return *host_; }
  void set_run(Run* run) { run_ = run; }
  extproc_status resume(extproc_resume_handle handle, uint64_t token) const {
    return async().resume(host_->table(), handle, token);
  }

 private:
  [[nodiscard]] const extproc_async_api& async() const {
    const extproc_host& host = *host_->table();
    return *static_cast<const extproc_async_api*>(host.get_extension(&host, EXTPROC_ASYNC_1));
  }
  extproc_action answer(extproc_call* call, uint32_t phase);
  extproc_action run(extproc_call* call, uint32_t phase);
  void host_call(uint8_t which, extproc_call* call, uint32_t phase);
  void body_call(uint8_t which, extproc_call* call);
  void reply_in_pieces(uint8_t which, extproc_call* call);
  void ask_for_control(extproc_call* call);
  void look(extproc_call* call);
  void wait(uint8_t which, extproc_call* call);
  std::string_view text();

  extproc_plugin descriptor_{};
  std::unique_ptr<engine::PluginHost> host_;
  Run* run_ = nullptr;
  extproc_resume_handle handle_ = 0;  // of the callback that runs
};

}  // namespace extprocd::fuzz
