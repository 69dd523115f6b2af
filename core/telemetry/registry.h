#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace extprocd::telemetry {

/// Label names and values of one time series, in the order in which they are shown.
using Labels = std::vector<std::pair<std::string, std::string>>;

/// Upper bounds, in seconds, of the server's own duration histograms: microseconds up to Envoy's default
/// message timeout of 200 ms, which must be a bound.
inline constexpr std::array<double, 14> kDurationBounds = {1e-6,   2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4,
                                                           2.5e-4, 5e-4,   1e-3, 5e-3, 2.5e-2, 1e-1, 2e-1};

namespace detail {
inline constexpr std::size_t kNoSlot = static_cast<std::size_t>(-1);
inline constinit thread_local std::size_t own_slot = kNoSlot;
std::size_t take_slot() noexcept;
}  // namespace detail

/// The place of the calling thread among the cells of every metric. Threads get places in the order in which
/// they first count; all that come after the last place share it.
inline std::size_t thread_slot() noexcept {
  if (detail::own_slot == detail::kNoSlot) detail::own_slot = detail::take_slot();
  return detail::own_slot;
}

inline constexpr std::size_t kCacheLine = 64;

/// A number that only grows. Each thread counts in a cell of its own; value() adds them up. All functions
/// from any thread.
class Counter {
 public:
  explicit Counter(std::size_t cells) : cells_(cells) {}

  void add(uint64_t amount = 1) noexcept {
    const std::size_t slot = thread_slot();
    if (slot + 1 < cells_.size()) {
      auto& cell = cells_[slot].value;  // no other thread writes here
      cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    } else {
      cells_.back().value.fetch_add(amount, std::memory_order_relaxed);
    }
  }
  [[nodiscard]] uint64_t value() const noexcept;

 private:
  struct alignas(kCacheLine) Cell {
    std::atomic<uint64_t> value{0};
  };
  std::vector<Cell> cells_;
};

/// How many there are now of what begins and ends. Each thread counts in a cell of its own, as in Counter. All
/// functions from any thread.
class OpenCount {
 public:
  explicit OpenCount(std::size_t cells) : changes_(cells) {}
  void begin() noexcept { changes_.add(1); }
  void end() noexcept { changes_.add(static_cast<uint64_t>(-1)); }  // the sum wraps around, and is right
  [[nodiscard]] int64_t value() const noexcept { return static_cast<int64_t>(changes_.value()); }

 private:
  Counter changes_;
};

/// A number of any kind, for what plugins count. All functions from any thread.
class FloatCounter {
 public:
  explicit FloatCounter(std::size_t) {}
  /// `amount` is not negative.
  void add(double amount) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

/// A number that goes up and down. All functions from any thread.
class Gauge {
 public:
  explicit Gauge(std::size_t) {}
  void add(double amount) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  void set(double value) noexcept { value_.store(value, std::memory_order_relaxed); }
  [[nodiscard]] double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  alignas(kCacheLine) std::atomic<double> value_{0};
};

/// Observations counted by size. Each thread counts in a shard of its own. All functions from any thread.
class Histogram {
 public:
  /// `bounds` rise; what is above the last counts in a bucket without a bound.
  Histogram(std::size_t cells, std::span<const double> bounds);

  void observe(double value) noexcept;

  struct Snapshot {
    std::vector<uint64_t> buckets;  ///< one a bound, and one more; not cumulative
    double sum = 0;
  };
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] const std::vector<double>& bounds() const { return bounds_; }

 private:
  struct alignas(kCacheLine) Shard {
    std::unique_ptr<std::atomic<uint64_t>[]> buckets;
    std::atomic<double> sum{0};
  };
  std::vector<double> bounds_;
  std::vector<Shard> shards_;
};

/// All metrics of a process. Metrics are made while things are set up and live as long as the registry; the
/// same name and labels give the same metric. Thread-safe.
class Registry {
 public:
  /// `cells`: how many threads count without sharing a cell; at least one.
  explicit Registry(std::size_t cells);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // For names that are known to be right; a mistake ends the process.
  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
  OpenCount& open_count(const std::string& name, const std::string& help,
                        const Labels& labels = {});  // a gauge
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, std::span<const double> bounds,
                       const Labels& labels = {});
  /// A gauge (or, `counts`, a counter) that is asked when it is shown. `read` is called from the scraping
  /// thread.
  void function(const std::string& name, const std::string& help, const Labels& labels, bool counts,
                std::function<double()> read);

  // For names that plugins choose. INVALID_ARGUMENT: not a metric or label name, bounds that do not rise, or
  // a name that is taken by a metric of another kind, other bounds or other label names.
  absl::StatusOr<FloatCounter*> try_float_counter(const std::string& name, const std::string& help,
                                                  const Labels& labels = {});
  absl::StatusOr<Gauge*> try_gauge(const std::string& name, const std::string& help,
                                   const Labels& labels = {});
  absl::StatusOr<Histogram*> try_histogram(const std::string& name, const std::string& help,
                                           std::span<const double> bounds, const Labels& labels = {});

  /// Everything in Prometheus' text format 0.0.4.
  [[nodiscard]] std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace extprocd::telemetry
