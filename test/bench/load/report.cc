#include "test/bench/load/report.h"

#include <cstdio>

#include <boost/json.hpp>

#include "test/bench/load/options.h"

namespace extprocd::bench {
namespace {

constexpr double kMiB = 1 << 20;

double microseconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e3; }
double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e9; }
double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

double streams_per_second(const Report& report) {
  return ratio(static_cast<double>(report.streams), seconds(report.window));
}

double cpu_per_stream(const Report& report) {
  return ratio(microseconds(report.server_cpu), static_cast<double>(report.streams));
}

double echoed_per_second(const Report& report) {
  return ratio(static_cast<double>(report.echoed_bytes), seconds(report.window));
}

double cpu_per_echoed_mib(const Report& report) {
  return ratio(microseconds(report.server_cpu), static_cast<double>(report.echoed_bytes) / kMiB);
}

double own_cpu_share(const Report& report) { return ratio(seconds(report.own_cpu), seconds(report.window)); }

double bytes_per_stream(const Report::Memory& memory) {
  return ratio(static_cast<double>(memory.held) - static_cast<double>(memory.before),
               static_cast<double>(memory.streams));
}

struct Quantile {
  const char* name;
  double share;
};
constexpr Quantile kQuantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

uint64_t fault_count(const Report& report) {
  uint64_t sum = 0;
  for (const auto& [fault, count] : report.faults) sum += count;
  return sum;
}

void print_memory(const Report::Memory& memory) {
  std::printf("memory of the server: %.1f MiB before, %.1f MiB with %llu streams held, %.1f MiB after\n",
              static_cast<double>(memory.before) / kMiB, static_cast<double>(memory.held) / kMiB,
              static_cast<unsigned long long>(memory.streams), static_cast<double>(memory.after) / kMiB);
  std::printf("a held stream: %.0f bytes\n", bytes_per_stream(memory));
}

void print_latencies(Report& report) {
  std::printf("%-18s %10s", "latency, µs", "count");
  for (const Quantile& quantile : kQuantiles) std::printf(" %10s", quantile.name);
  std::printf("\n");
  for (auto& [name, latencies] : report.series) {
    std::printf("%-17s %10zu", name.c_str(), latencies.count());
    for (const Quantile& quantile : kQuantiles) {
      std::printf(" %10.1f", microseconds(latencies.quantile(quantile.share)));
    }
    std::printf("\n");
  }
}

boost::json::object quantiles_of(Latencies& latencies) {
  boost::json::object entry{{"count", latencies.count()}};
  for (const Quantile& quantile : kQuantiles) {
    entry[quantile.name] = microseconds(latencies.quantile(quantile.share));
  }
  return entry;
}

}  // namespace

void print_table(const Options& options, Report& report) {
  std::printf("%s, %s: %zu connections, %zu streams at a time", options.address.c_str(),
              options.profile_name.c_str(), report.connections, options.streams);
  if (options.rate > 0) std::printf(", %.0f a second", options.rate);
  std::printf("\n");
  if (report.memory) {
    print_memory(*report.memory);
    return;
  }
  std::printf("%llu streams in %.2f s: %.0f a second\n", static_cast<unsigned long long>(report.streams),
              seconds(report.window), streams_per_second(report));
  if (report.refused > 0) std::printf("refused: %llu\n", static_cast<unsigned long long>(report.refused));
  if (report.echoed_bytes > 0) std::printf("echoed: %.1f MiB a second\n", echoed_per_second(report) / kMiB);
  if (!options.pids.empty()) std::printf("CPU of the server: %.2f µs a stream\n", cpu_per_stream(report));
  std::printf("CPU of the load: %.0f %% of one core\n", 100 * own_cpu_share(report));
  if (options.rate > 0)
    std::printf("a stream began at worst %.1f µs late\n", microseconds(report.latest_start));
  print_latencies(report);
}

std::string to_json(const Options& options, Report& report) {
  boost::json::object latencies;
  for (auto& [name, values] : report.series) {
    latencies[name] = quantiles_of(values);
  }
  if (!options.refusals.empty()) latencies["refused"] = quantiles_of(report.refusals);
  boost::json::object faults;
  for (const auto& [fault, count] : report.faults) faults[fault] = count;
  boost::json::object document{
      {"address", options.address},
      {"profile", options.profile_name},
      {"connections", report.connections},
      {"streams_at_a_time", options.streams},
      {"rate", options.rate},
      {"reset", options.reset},
      {"body_bytes", options.script.profile == Profile::kHeaders ? 0 : options.script.body},
      {"seconds", seconds(report.window)},
      {"streams", report.streams},
      {"all_streams", report.all_streams},
      {"refused", report.refused},
      {"streams_per_second", streams_per_second(report)},
      {"server_cpu_us_per_stream", cpu_per_stream(report)},
      {"echoed_bytes_per_second", echoed_per_second(report)},
      {"server_cpu_us_per_echoed_mib", cpu_per_echoed_mib(report)},
      {"load_cpu_share", own_cpu_share(report)},
      {"latest_start_us", microseconds(report.latest_start)},
      {"latency_us", std::move(latencies)},
      {"fault_count", fault_count(report)},
      {"faults", std::move(faults)},
  };
  if (report.memory) {
    document["memory"] = {
        {"before", report.memory->before},   {"held", report.memory->held},
        {"after", report.memory->after},     {"streams", report.memory->streams},
        {"message", report.memory->message}, {"bytes_per_stream", bytes_per_stream(*report.memory)}};
  }
  return boost::json::serialize(document) + "\n";
}

}  // namespace extprocd::bench
