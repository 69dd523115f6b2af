#include "core/telemetry/registry.h"

#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/telemetry/metrics.h"

namespace extprocd::telemetry {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Registry, many_threads_count_without_losing_anything_also_beyond_the_cells) {
  Registry registry(2);
  Counter& counter = registry.counter("c_total", "C.");
  Gauge& gauge = registry.gauge("g", "G.");
  OpenCount& level = registry.open_count("l", "L.");
  const std::vector<double> bounds = {1, 2};
  Histogram& histogram = registry.histogram("h", "H.", bounds);
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) {
        counter.add();
        gauge.add(i % 2 == 0 ? 1 : -1);
        level.begin();
        if (i % 2 == 0) level.end();
        histogram.observe(i % 4);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 160000U);
  EXPECT_EQ(gauge.value(), 0);
  EXPECT_EQ(level.value(), 80000);
  const auto snapshot = histogram.snapshot();
  EXPECT_EQ(snapshot.buckets, (std::vector<uint64_t>{80000, 40000, 40000}));
  EXPECT_EQ(snapshot.sum, 240000);
}

TEST(Registry, what_begins_on_one_thread_may_end_on_another) {
  Registry registry(8);
  OpenCount& level = registry.open_count("open", "Open.");
  level.begin();
  level.begin();
  std::thread([&] { level.end(); }).join();
  EXPECT_EQ(level.value(), 1);
  EXPECT_THAT(registry.text(), HasSubstr("# TYPE open gauge\nopen 1\n"));
}

TEST(Registry, the_text_is_prometheus_exposition_with_cumulative_buckets) {
  Registry registry(1);
  registry.counter("c_total", "Counts.", {{"a", "x\"\\\n"}}).add(3);
  const std::vector<double> bounds = {1, 2};
  Histogram& histogram = registry.histogram("h_seconds", "H.", bounds);
  histogram.observe(1);  // a bound belongs to its bucket
  histogram.observe(5);
  const std::string text = registry.text();
  EXPECT_THAT(text,
              HasSubstr("# HELP c_total Counts.\n# TYPE c_total counter\nc_total{a=\"x\\\"\\\\\\n\"} 3"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{le=\"1\"} 1"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{le=\"2\"} 1"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{le=\"+Inf\"} 2"));
  EXPECT_THAT(text, HasSubstr("h_seconds_sum 6"));
}

TEST(Registry, the_same_name_and_labels_give_the_same_metric) {
  Registry registry(1);
  EXPECT_EQ(&registry.counter("c_total", "C.", {{"a", "1"}}),
            &registry.counter("c_total", "C.", {{"a", "1"}}));
  EXPECT_NE(&registry.counter("c_total", "C.", {{"a", "1"}}),
            &registry.counter("c_total", "C.", {{"a", "2"}}));
}

TEST(Registry, what_plugins_may_get_wrong_is_an_error_with_the_name) {
  Registry registry(1);
  ASSERT_TRUE(registry.try_float_counter("a_total", "A.", {{"x", "1"}}).ok());
  EXPECT_FALSE(registry.try_gauge("a_total", "A.", {{"x", "1"}}).ok());
  EXPECT_FALSE(registry.try_float_counter("a_total", "A.", {{"y", "1"}}).ok());
  EXPECT_FALSE(registry.try_float_counter("bad name", "A.").ok());
  EXPECT_FALSE(registry.try_float_counter("", "A.").ok());
  EXPECT_FALSE(registry.try_float_counter("b_total", "A.", {{"bad-label", "1"}}).ok());
  EXPECT_FALSE(registry.try_histogram("h", "H.", std::vector<double>{2, 1}).ok());
  EXPECT_FALSE(registry.try_histogram("h", "H.", std::vector<double>{}).ok());
  ASSERT_TRUE(registry.try_histogram("h", "H.", std::vector<double>{1, 2}).ok());
  EXPECT_FALSE(registry.try_histogram("h", "H.", std::vector<double>{1, 3}).ok());
}

TEST(Metrics, a_plugin_has_series_only_for_the_phases_that_it_asked_for) {
  Registry registry(1);
  const PluginMetrics metrics(registry, "p", 1U << 3);
  metrics.calls[3][0]->add();
  const std::string text = registry.text();
  EXPECT_THAT(text,
              HasSubstr(R"(extproc_plugin_calls_total{plugin="p",phase="response_headers",result="ok"} 1)"));
  EXPECT_THAT(text, Not(HasSubstr("request_body")));
}

TEST(Metrics, process_metrics_are_plausible) {
  Registry registry(1);
  show_process_metrics(registry, "1.2.3");
  const std::string text = registry.text();
  for (const auto* name :
       {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
        "process_start_time_seconds", "process_virtual_memory_bytes", "process_threads 1"}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(text, HasSubstr(R"(version="1.2.3")"));
}

}  // namespace
}  // namespace extprocd::telemetry
