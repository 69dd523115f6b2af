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

/// A plugin behind the C contract that does what its plan says, and writes down what it saw and was told.
class PlannedPlugin {
 public:
  /// Lines by stream id, shared by the plugins of a chain.
  using Logs = std::map<std::uint64_t, std::vector<std::string>>;

  PlannedPlugin(std::size_t position, PluginPlan plan, Logs& logs, telemetry::Registry& registry);
  PlannedPlugin(const PlannedPlugin&) = delete;
  PlannedPlugin& operator=(const PlannedPlugin&) = delete;

  [[nodiscard]] const extproc_plugin& descriptor() const { return descriptor_; }
  [[nodiscard]] engine::PluginHost& host() { return *host_; }
  [[nodiscard]] const PluginPlan& plan() const { return plan_; }

 private:
  /// In the memory that the host provides per stream.
  struct State {
    std::uint64_t stream;
    std::array<std::uint32_t, EXTPROC_PHASE_COUNT> calls;
  };

  extproc_action begin(State& state, extproc_call* call, const extproc_stream_facts& facts);
  extproc_action on_phase(State& state, extproc_call* call, std::uint32_t phase, std::uint32_t flags);
  void end(const State& state, const extproc_stream_end& end);
  extproc_status take(const Step& step, extproc_call* call, std::uint32_t phase);
  extproc_status prepare_reply(const PhasePlan& what, extproc_call* call);
  std::string seen(extproc_call* call, std::uint32_t phase);
  std::string headers_seen(extproc_call* call, std::uint32_t phase);
  void write(const State& state, const std::string& line) {
    logs_[state.stream].push_back(name_ + " " + line);
  }

  const std::string name_;
  const PluginPlan plan_;
  Logs& logs_;
  extproc_plugin descriptor_{};
  std::unique_ptr<engine::PluginHost> host_;
  const extproc_host& api_;
  const extproc_metadata_api& metadata_;
  const extproc_body_api& body_;
  const extproc_control_api& control_;
};

/// A generation whose one chain runs planned plugins.
class PlannedChain {
 public:
  PlannedChain(std::vector<PluginPlan> plans, const ServerSetup& setup);

  [[nodiscard]] const std::vector<PluginPlan>& plans() const { return plans_; }
  [[nodiscard]] const ServerSetup& setup() const { return setup_; }
  [[nodiscard]] std::shared_ptr<const engine::Generation> generation() const { return generation_; }
  /// What the plugins wrote down about a stream.
  [[nodiscard]] const std::vector<std::string>& log(std::uint64_t stream) { return logs_[stream]; }

 private:
  const std::vector<PluginPlan> plans_;
  const ServerSetup setup_;
  PlannedPlugin::Logs logs_;
  std::deque<PlannedPlugin> plugins_;
  std::shared_ptr<engine::Generation> generation_;
};

}  // namespace extprocd::model
