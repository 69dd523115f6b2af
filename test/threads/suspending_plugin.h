#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/engine/generation.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"

namespace extprocd::test {

/// A plugin that waits in both headers phases, each time in another way: for a thread of its own, for the host's timer,
/// for both at once, for nobody, and sometimes twice. Its threads also resume what is over.
class SuspendingPlugin {
 public:
  explicit SuspendingPlugin(telemetry::Registry& registry);
  ~SuspendingPlugin();
  SuspendingPlugin(const SuspendingPlugin&) = delete;
  SuspendingPlugin& operator=(const SuspendingPlugin&) = delete;

  [[nodiscard]] const extproc_plugin& descriptor() const { return descriptor_; }
  [[nodiscard]] engine::PluginHost& host() { return *host_; }

  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::atomic<int> suspended{0};
  std::atomic<int> resumed{0};    ///< calls of on_resumed
  std::atomic<int> cancelled{0};  ///< calls of on_cancelled

 private:
  /// Of a stream; whoever touches it beside the stream's thread races.
  struct State {
    int calls;
    bool waits;
  };

  extproc_action wait(State& state, extproc_call* call);
  extproc_action go_on(State& state, extproc_call* call, std::uint32_t phase);
  void resume_all();
  [[nodiscard]] const extproc_async_api& async() const;

  extproc_plugin descriptor_{};
  std::unique_ptr<engine::PluginHost> host_;
  std::atomic<unsigned> ways_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<extproc_resume_handle> to_resume_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

/// A generation of one chain with that plugin, which gives up waiting after a few milliseconds and is left out then.
class SuspendingGeneration {
 public:
  SuspendingGeneration();

  [[nodiscard]] std::shared_ptr<const engine::Generation> generation() const { return generation_; }
  SuspendingPlugin& plugin() { return plugin_; }
  telemetry::Metrics& metrics() { return metrics_; }
  /// When all streams are gone.
  void expect_nothing_is_left();

 private:
  telemetry::Registry registry_{16};
  telemetry::Metrics metrics_{registry_};
  SuspendingPlugin plugin_{registry_};
  std::shared_ptr<engine::Generation> generation_ = std::make_shared<engine::Generation>();
};

}  // namespace extprocd::test
