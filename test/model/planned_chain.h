#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/generation.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "test/model/plugin_plan.h"
#include "test/model/server_reference.h"

namespace extprocd::model {

class PlannedPlugin;

/// What the plugins of a chain leave behind about one stream.
struct StreamNotes {
  /// A handle that suspend() gave.
  struct Suspension {
    const PlannedPlugin* plugin;
    extproc_resume_handle handle;
    bool left_alone;
  };
  std::vector<std::string> lines;
  std::vector<Suspension> suspensions;
  engine::Clock::time_point* time = nullptr;  ///< that callbacks move on; null: time stands still
};

/// A plugin behind the C contract that does what its plan says, and writes down what it saw and was told.
class PlannedPlugin {
 public:
  /// By stream id, shared by the plugins of a chain.
  using Notes = std::map<std::uint64_t, StreamNotes>;

  PlannedPlugin(std::size_t position, PluginPlan plan, Notes& notes, telemetry::Registry& registry);
  PlannedPlugin(const PlannedPlugin&) = delete;
  PlannedPlugin& operator=(const PlannedPlugin&) = delete;

  [[nodiscard]] const extproc_plugin& descriptor() const { return descriptor_; }
  [[nodiscard]] engine::PluginHost& host() const { return *host_; }
  [[nodiscard]] const PluginPlan& plan() const { return plan_; }
  extproc_status resume(extproc_resume_handle handle, std::uint64_t token) const {
    return async_.resume(&api_, handle, token);
  }
  [[nodiscard]] bool is_waiting(extproc_resume_handle handle) const {
    return async_.is_waiting(&api_, handle) != 0;
  }

 private:
  /// In the memory that the host provides per stream.
  struct State {
    std::uint64_t stream;
    std::array<std::uint32_t, EXTPROC_PHASE_COUNT> calls;
    std::uint32_t pause;  // of the call at hand, the next one
  };

  extproc_action begin(State& state, extproc_call* call, const extproc_stream_facts& facts);
  extproc_action on_phase(State& state, extproc_call* call, std::uint32_t phase, std::uint32_t flags);
  extproc_action on_resumed(State& state, extproc_call* call, std::uint32_t phase, std::uint32_t flags,
                            std::uint64_t token);
  extproc_action finish_callback(State& state, extproc_call* call, std::uint32_t phase, std::uint32_t flags);
  void take_all(const State& state, const std::vector<Step>& steps, extproc_call* call, std::uint32_t phase);
  bool suspends(State& state, extproc_call* call, const Pause& pause);
  void end(const State& state, const extproc_stream_end& end);
  extproc_status take(const Step& step, extproc_call* call, std::uint32_t phase);
  extproc_status prepare_reply(const PhasePlan& what, extproc_call* call);
  std::string seen(extproc_call* call, std::uint32_t phase);
  std::string headers_seen(extproc_call* call, std::uint32_t phase);
  void write(const State& state, const std::string& line) {
    notes_[state.stream].lines.push_back(name_ + " " + line);
  }

  const std::string name_;
  const PluginPlan plan_;
  Notes& notes_;
  extproc_plugin descriptor_{};
  std::unique_ptr<engine::PluginHost> host_;
  const extproc_host& api_;
  const extproc_metadata_api& metadata_;
  const extproc_body_api& body_;
  const extproc_control_api& control_;
  const extproc_async_api& async_;
};

/// A generation whose one chain runs planned plugins.
class PlannedChain {
 public:
  PlannedChain(std::vector<PluginPlan> plans, const ServerSetup& setup);

  [[nodiscard]] const std::vector<PluginPlan>& plans() const { return plans_; }
  [[nodiscard]] const ServerSetup& setup() const { return setup_; }
  [[nodiscard]] std::shared_ptr<const engine::Generation> generation() const { return generation_; }
  /// What the plugins wrote down about a stream.
  [[nodiscard]] StreamNotes& notes(std::uint64_t stream) { return notes_[stream]; }
  /// What is counted still though all streams are gone; empty if nothing is.
  [[nodiscard]] std::string leftovers() const;
  /// Resumes that came to nothing, of this chain.
  [[nodiscard]] std::uint64_t ignored_resumes() const;

 private:
  const std::vector<PluginPlan> plans_;
  const ServerSetup setup_;
  PlannedPlugin::Notes notes_;
  std::deque<PlannedPlugin> plugins_;
  std::shared_ptr<engine::Generation> generation_;
  std::uint64_t ignored_before_ = 0;  // the metrics outlive the chain
};

}  // namespace extprocd::model
