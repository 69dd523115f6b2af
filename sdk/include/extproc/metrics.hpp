#pragma once

#include <string>
#include <utility>
#include <vector>

#include <extproc/abi.h>

namespace extproc {
inline namespace v1 {

/// Fixed label pairs of a metric. The host adds plugin="<configured name>".
using Labels = std::vector<std::pair<std::string, std::string>>;

/// Metrics are made by Host in the plugin's constructor and may be used from any thread as long as the plugin
/// lives. They are small handles: copy them freely. One that was never made, or that the host could not make,
/// does nothing. None of their functions throws.

/// A number that only grows.
class Counter {
 public:
  Counter() noexcept = default;
  /// Made by Host.
  Counter(const extproc_metrics_api* api, extproc_metric* metric) noexcept : api_(api), metric_(metric) {}

  /// `amount` is not negative.
  void increment(double amount = 1) const noexcept {
    if (metric_ != nullptr) api_->add(metric_, amount);
  }

 private:
  const extproc_metrics_api* api_ = nullptr;
  extproc_metric* metric_ = nullptr;
};

/// A number that goes up and down.
class Gauge {
 public:
  Gauge() noexcept = default;
  /// Made by Host.
  Gauge(const extproc_metrics_api* api, extproc_metric* metric) noexcept : api_(api), metric_(metric) {}

  void set(double value) const noexcept {
    if (metric_ != nullptr) api_->set(metric_, value);
  }
  /// `amount` may be negative.
  void add(double amount) const noexcept {
    if (metric_ != nullptr) api_->add(metric_, amount);
  }

 private:
  const extproc_metrics_api* api_ = nullptr;
  extproc_metric* metric_ = nullptr;
};

/// A distribution over fixed bounds.
class Histogram {
 public:
  Histogram() noexcept = default;
  /// Made by Host.
  Histogram(const extproc_metrics_api* api, extproc_metric* metric) noexcept : api_(api), metric_(metric) {}

  void observe(double value) const noexcept {
    if (metric_ != nullptr) api_->observe(metric_, value);
  }

 private:
  const extproc_metrics_api* api_ = nullptr;
  extproc_metric* metric_ = nullptr;
};

}  // namespace v1
}  // namespace extproc
