#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <extproc/abi.h>

#include "core/config/config.h"
#include "core/engine/plugin_host.h"
#include "core/engine/worker_pool.h"
#include "core/wire/direction.h"

namespace extprocd::engine {

using Duration = std::chrono::nanoseconds;

/// Of a configuration's seconds.
constexpr Duration to_duration(double seconds) {
  return std::chrono::round<Duration>(std::chrono::duration<double>(seconds));
}

/// How a plugin is used in a chain, as the configuration says.
struct LinkOptions {
  config::FailurePolicy on_error = config::FailurePolicy::kFail;
  uint32_t deny_status = config::Plugin().deny_status;
  const config::When* when = nullptr;  ///< null: always; outlives the chain
  uint64_t max_body_bytes = config::Plugin().max_body_bytes;
  config::PhaseTimeouts timeouts{};
  WorkerPool* workers = nullptr;  ///< of a plugin that may block; outlives the chain
};

/// One plugin's place in a chain, with all that a call needs resolved beforehand. Borrowed from the
/// generation.
struct ChainLink {
  const extproc_plugin* descriptor;
  void* instance;
  PluginHost* host;  ///< name, metrics, log
  config::FailurePolicy on_error;
  uint32_t deny_status;
  const config::When* when;                      ///< null: always
  std::size_t state_offset;                      ///< of its per-stream state in the chain's state memory
  uint64_t max_body_bytes;                       ///< of one body, held for it
  std::array<uint32_t, 2> access;                ///< EXTPROC_ACCESS_*, by wire::Direction
  std::array<const char* const*, 2> body_types;  ///< content types of the bodies that it needs; null: all
  std::array<Duration, 6> timeouts;              ///< by phase; 0: none of its own
  bool resumes;                                  ///< has an on_resumed
  WorkerPool* workers;                           ///< where its callbacks run; null: on the stream's thread

  /// By phase; 0: none. Of phases that no message brings there is none either.
  [[nodiscard]] Duration timeout(uint32_t phase) const {
    return phase < timeouts.size() ? timeouts[phase] : Duration::zero();
  }

  [[nodiscard]] bool wants(uint32_t phase) const {
    // A denial does not wait for a plugin that may block.
    if (phase == EXTPROC_LOCAL_REPLY && workers != nullptr) return false;
    return (descriptor->phases & EXTPROC_PHASE_BIT(phase)) != 0;
  }
};

/// An ordered list of plugins that a stream runs. Immutable once built; shared by all threads.
class Chain {
 public:
  explicit Chain(std::string name, config::ResponseOrder response_order = config::ResponseOrder::kReverse,
                 config::DataPlane data_plane = {}, Duration deadline = {})
      : name_(std::move(name)),
        response_order_(response_order),
        data_plane_(data_plane),
        deadline_(deadline) {}

  /// Appends a plugin; while the generation is built. What is borrowed outlives the chain.
  void add(const extproc_plugin& descriptor, void* instance, PluginHost& host, const LinkOptions& options);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] config::ResponseOrder response_order() const { return response_order_; }
  [[nodiscard]] const std::vector<ChainLink>& links() const { return links_; }
  /// EXTPROC_PHASE_BIT of every phase that some plugin asked for.
  [[nodiscard]] uint32_t phases() const { return phases_; }
  /// How the operator says that the data plane is configured, for streams of this chain.
  [[nodiscard]] const config::DataPlane& data_plane() const { return data_plane_; }
  /// From a message's coming until its answer is sent, however long plugins would wait; 0: no end.
  [[nodiscard]] Duration deadline() const { return deadline_; }
  /// The strongest access of any plugin to a direction's body.
  [[nodiscard]] uint32_t body_access(wire::Direction direction) const {
    return body_access_[static_cast<std::size_t>(direction)];
  }
  /// Bytes of per-stream state of all plugins together, aligned for kStateAlign.
  [[nodiscard]] std::size_t state_size() const { return state_size_; }

  static constexpr std::size_t kStateAlign = 64;

 private:
  std::string name_;
  config::ResponseOrder response_order_;
  std::vector<ChainLink> links_;
  config::DataPlane data_plane_;
  Duration deadline_;
  uint32_t phases_ = 0;
  std::array<uint32_t, 2> body_access_{};
  std::size_t state_size_ = 0;
};

}  // namespace extprocd::engine
