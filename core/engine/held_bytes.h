#pragma once

#include <cstdint>

#include "core/config/config.h"
#include "core/telemetry/metrics.h"

namespace extprocd::engine {

/// How many bytes of bodies the plugins of one stream hold, of which a limit of the stream and one of the server take
/// notice. One thread at a time; gives back what is left when it goes.
class HeldBytes {
 public:
  enum class Over : uint8_t { kNothing, kStream, kServer };

  /// `limits` outlive it.
  HeldBytes(const telemetry::Metrics& metrics, const config::Limits& limits)
      : metrics_(metrics), limits_(limits) {}
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;
  ~HeldBytes() {
    if (held_ > 0) metrics_.held_bytes.add(-static_cast<double>(held_));
  }

  /// A plugin now holds `now` bytes where it held `before`.
  void change(const telemetry::PluginMetrics& plugin, uint64_t before, uint64_t now) {
    if (before == now) return;
    const double more = static_cast<double>(now) - static_cast<double>(before);
    held_ += now - before;
    metrics_.held_bytes.add(more);
    if (plugin.held_bytes != nullptr) plugin.held_bytes->add(more);
  }
  /// Counts that a limit has bitten.
  void count(telemetry::Limit limit) const { metrics_.limits[static_cast<std::size_t>(limit)]->add(); }
  /// Counts bytes that never went on.
  void count_lost(uint64_t bytes) const { metrics_.lost_bytes.add(bytes); }
  /// Which limit is passed, if one is.
  [[nodiscard]] Over over() const {
    if (held_ > limits_.max_held_bytes) return Over::kStream;
    if (held_ > 0 && metrics_.held_bytes.value() > static_cast<double>(limits_.max_total_held_bytes))
      return Over::kServer;
    return Over::kNothing;
  }

 private:
  const telemetry::Metrics& metrics_;
  const config::Limits& limits_;
  uint64_t held_ = 0;
};

}  // namespace extprocd::engine
