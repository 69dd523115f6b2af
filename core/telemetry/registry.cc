#include "core/telemetry/registry.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <variant>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace extprocd::telemetry {
namespace {

struct Function {
  std::function<double()> read;
};
using Metric =
    std::variant<std::unique_ptr<Counter>, std::unique_ptr<FloatCounter>, std::unique_ptr<OpenCount>,
                 std::unique_ptr<Gauge>, std::unique_ptr<Histogram>, Function>;

struct Family {
  std::string help;
  prometheus::MetricType type{};
  std::map<Labels, Metric> series;  // of many plugins there are thousands
};

bool is_label_name(std::string_view name) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') && !name.starts_with("__") &&
         std::all_of(name.begin(), name.end(), is_word);
}

/// Colons are for recording rules, so no metric has them.
bool is_metric_name(std::string_view name) { return is_label_name(name); }

bool same_label_names(const Labels& a, const Labels& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](const auto& x, const auto& y) { return x.first == y.first; });
}

prometheus::ClientMetric to_client_metric(const Labels& labels, const Metric& series) {
  prometheus::ClientMetric out;
  for (const auto& [name, value] : labels) out.label.push_back({name, value});
  std::visit(
      [&out]<typename T>(const T& metric) {
        if constexpr (std::is_same_v<T, std::unique_ptr<Counter>>) {
          out.counter.value = static_cast<double>(metric->value());
        } else if constexpr (std::is_same_v<T, std::unique_ptr<FloatCounter>>) {
          out.counter.value = metric->value();
        } else if constexpr (std::is_same_v<T, std::unique_ptr<OpenCount>>) {
          out.gauge.value = static_cast<double>(metric->value());
        } else if constexpr (std::is_same_v<T, std::unique_ptr<Gauge>>) {
          out.gauge.value = metric->value();
        } else if constexpr (std::is_same_v<T, std::unique_ptr<Histogram>>) {
          const Histogram::Snapshot snapshot = metric->snapshot();
          uint64_t count = 0;
          for (std::size_t i = 0; i < snapshot.buckets.size(); ++i) {
            count += snapshot.buckets[i];
            const bool last = i == metric->bounds().size();
            out.histogram.bucket.push_back(
                {count, last ? std::numeric_limits<double>::infinity() : metric->bounds()[i]});
          }
          out.histogram.sample_count = count;
          out.histogram.sample_sum = snapshot.sum;
        } else {
          out.counter.value = out.gauge.value = metric.read();
        }
      },
      series);
  return out;
}

template <typename T>
T& must(absl::StatusOr<T*> made) {
  if (made.ok()) return **made;
  std::fprintf(stderr, "extprocd: %s\n", std::string(made.status().message()).c_str());
  std::abort();
}

}  // namespace

std::size_t detail::take_slot() noexcept {
  static std::atomic<std::size_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

uint64_t Counter::value() const noexcept {
  uint64_t sum = 0;
  for (const Cell& cell : cells_) sum += cell.value.load(std::memory_order_relaxed);
  return sum;
}

Histogram::Histogram(std::size_t cells, std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), shards_(cells) {
  for (Shard& shard : shards_) shard.buckets = std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1);
}

void Histogram::observe(double value) noexcept {
  const std::size_t slot = thread_slot();
  // From the front: nearly all that is observed falls into the first few buckets.
  std::size_t bucket = 0;
  while (bucket < bounds_.size() && bounds_[bucket] < value) ++bucket;
  if (slot + 1 < shards_.size()) {
    Shard& shard = shards_[slot];  // no other thread writes here
    auto& count = shard.buckets[bucket];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    shard.sum.store(shard.sum.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  } else {
    shards_.back().buckets[bucket].fetch_add(1, std::memory_order_relaxed);
    shards_.back().sum.fetch_add(value, std::memory_order_relaxed);
  }
}

Histogram::Snapshot Histogram::snapshot() const {
  Snapshot all;
  all.buckets.resize(bounds_.size() + 1);
  for (const Shard& shard : shards_) {
    for (std::size_t i = 0; i < all.buckets.size(); ++i) {
      all.buckets[i] += shard.buckets[i].load(std::memory_order_relaxed);
    }
    all.sum += shard.sum.load(std::memory_order_relaxed);
  }
  return all;
}

struct Registry::State {
  explicit State(std::size_t count) : cells(std::max<std::size_t>(count, 1) + 1) {}

  /// Finds the series or makes it by `make`; T is the metric's class.
  template <typename T, typename Make>
  absl::StatusOr<T*> get(const std::string& name, const std::string& help, prometheus::MetricType type,
                         const Labels& labels, Make make) {
    if (!is_metric_name(name)) return absl::InvalidArgumentError("'" + name + "' is not a valid metric name");
    for (const auto& label : labels) {
      if (!is_label_name(label.first)) {
        return absl::InvalidArgumentError("'" + label.first + "' is not a valid label name");
      }
    }
    const std::lock_guard lock(mutex);
    auto [entry, is_new] = families.try_emplace(name);
    Family& family = entry->second;
    if (is_new) {
      family.help = help;
      family.type = type;
    }
    if (family.type != type)
      return absl::InvalidArgumentError("'" + name + "' is a metric of another kind already");
    // They all have the same names.
    if (!family.series.empty() && !same_label_names(family.series.begin()->first, labels)) {
      return absl::InvalidArgumentError("'" + name + "' has other labels already");
    }
    if (const auto known = family.series.find(labels); known != family.series.end()) {
      if (auto* same = std::get_if<std::unique_ptr<T>>(&known->second)) return same->get();
      return absl::InvalidArgumentError("'" + name + "' is a metric of another kind already");
    }
    auto metric = make();
    T* made = metric.get();
    family.series.emplace(labels, std::move(metric));
    return made;
  }

  const std::size_t cells;  // the last one is shared
  mutable std::mutex mutex;
  std::map<std::string, Family> families;
};

Registry::Registry(std::size_t cells) : state_(std::make_unique<State>(cells)) {}
Registry::~Registry() = default;

Counter& Registry::counter(const std::string& name, const std::string& help, const Labels& labels) {
  return must(state_->get<Counter>(name, help, prometheus::MetricType::Counter, labels,
                                   [&] { return std::make_unique<Counter>(state_->cells); }));
}

OpenCount& Registry::open_count(const std::string& name, const std::string& help, const Labels& labels) {
  return must(state_->get<OpenCount>(name, help, prometheus::MetricType::Gauge, labels,
                                     [&] { return std::make_unique<OpenCount>(state_->cells); }));
}

Gauge& Registry::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return must(try_gauge(name, help, labels));
}

Histogram& Registry::histogram(const std::string& name, const std::string& help,
                               std::span<const double> bounds, const Labels& labels) {
  return must(try_histogram(name, help, bounds, labels));
}

void Registry::function(const std::string& name, const std::string& help, const Labels& labels, bool counts,
                        std::function<double()> read) {
  const std::lock_guard lock(state_->mutex);
  Family& family = state_->families[name];
  family.help = help;
  family.type = counts ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  family.series.insert_or_assign(labels, Function{std::move(read)});
}

absl::StatusOr<FloatCounter*> Registry::try_float_counter(const std::string& name, const std::string& help,
                                                          const Labels& labels) {
  return state_->get<FloatCounter>(name, help, prometheus::MetricType::Counter, labels,
                                   [&] { return std::make_unique<FloatCounter>(state_->cells); });
}

absl::StatusOr<Gauge*> Registry::try_gauge(const std::string& name, const std::string& help,
                                           const Labels& labels) {
  return state_->get<Gauge>(name, help, prometheus::MetricType::Gauge, labels,
                            [&] { return std::make_unique<Gauge>(state_->cells); });
}

absl::StatusOr<Histogram*> Registry::try_histogram(const std::string& name, const std::string& help,
                                                   std::span<const double> bounds, const Labels& labels) {
  const bool rising = std::adjacent_find(bounds.begin(), bounds.end(),
                                         [](double a, double b) { return !(a < b); }) == bounds.end();
  if (bounds.empty() || !rising) return absl::InvalidArgumentError("'" + name + "': the bounds must rise");
  auto made = state_->get<Histogram>(name, help, prometheus::MetricType::Histogram, labels,
                                     [&] { return std::make_unique<Histogram>(state_->cells, bounds); });
  if (made.ok() &&
      !std::equal(bounds.begin(), bounds.end(), (*made)->bounds().begin(), (*made)->bounds().end())) {
    return absl::InvalidArgumentError("'" + name + "' has other bounds already");
  }
  return made;
}

std::string Registry::text() const {
  std::vector<prometheus::MetricFamily> all;
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& [name, family] : state_->families) {
      prometheus::MetricFamily out{name, family.help, family.type, {}};
      for (const auto& [labels, metric] : family.series)
        out.metric.push_back(to_client_metric(labels, metric));
      if (!out.metric.empty()) all.push_back(std::move(out));
    }
  }
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace extprocd::telemetry
