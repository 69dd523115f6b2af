// What the engine costs without a transport: a stream's CPU time, its allocations, and the memory of one that is held
// open. The ratios are to reading the same messages through RequestView and doing nothing else.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <time.h>

#include "core/wire/request_view.h"
#include "test/bench/engine/allocations.h"
#include "test/bench/engine/subject.h"

namespace extprocd::bench {
namespace {

constexpr int kRounds = 9;
constexpr double kSliceNs = 30e6;  // of CPU time, a case and round
constexpr std::size_t kIdleStreams = 2000;

double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// CPU time of each of so many streams.
template <typename Run>
double ns_per_stream(Run&& run, std::size_t streams) {
  const double begun = cpu_ns();
  run(streams);
  return (cpu_ns() - begun) / static_cast<double>(streams);
}

double median(std::vector<double> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers[numbers.size() / 2];
}

std::vector<Case> cases() {
  const ScriptOptions plain;
  ScriptOptions instructed;
  instructed.instructions = R"({"addHeaders":{"extproc":"true"}})";
  ScriptOptions duplex;
  duplex.profile = Profile::kDuplex;
  duplex.body = std::size_t{1} << 20;
  duplex.chunk = std::size_t{64} << 10;
  const auto sixteen = [](const std::string& plugin) {
    std::vector<std::string> modules(16, plugin);
    modules[0] = "instructions";
    return modules;
  };
  return {{"no plugins", {}, plain},
          {"refused under overload, 503", {"instructions"}, plain, /*overloaded=*/true},
          {"instructions, header absent", {"instructions"}, plain},
          {"instructions, one addHeaders", {"instructions"}, instructed},
          {"1 + one that touches nothing", {"instructions", "bench_watch_only"}, plain},
          {"1 + 15 that touch nothing", sixteen("bench_watch_only"), plain},
          {"1 + one that sets a header", {"instructions", "bench_set_header"}, plain},
          {"1 + 15 that set a header each", sixteen("bench_set_header"), plain},
          {"duplex, 1 MiB each way by 64 KiB", {"instructions"}, duplex}};
}

/// Bytes of a stream that has answered its first message.
double idle_bytes(Subject& subject) {
  CopyingSink sink;
  std::vector<std::unique_ptr<engine::ServerStream>> streams;
  streams.reserve(kIdleStreams);
  for (std::size_t i = 0; i < 100; ++i) streams.push_back(subject.open_idle(sink));
  streams.clear();
  const int64_t before = allocations().live_bytes;
  for (std::size_t i = 0; i < kIdleStreams; ++i) streams.push_back(subject.open_idle(sink));
  return static_cast<double>(allocations().live_bytes - before) / static_cast<double>(kIdleStreams);
}

/// How much dearer a stream is while another thread does the same. On a machine with something else to do, or where
/// two CPUs share a core, more than what the threads do to each other.
double slowed_by_second_thread(Subject& subject, std::size_t streams) {
  std::vector<double> slower;
  for (int round = 0; round < kRounds; ++round) {
    const auto run = [&subject](std::size_t count) { subject.run(count); };
    const double alone = ns_per_stream(run, streams);
    double together = 0;
    std::thread other([&] { run(streams); });
    together = ns_per_stream(run, streams);
    other.join();
    slower.push_back(together / alone);
  }
  return median(slower);
}

struct Measured {
  std::string name;
  std::function<void(std::size_t)> run;
  std::size_t messages;
  std::size_t bytes;
  double idle_bytes = 0;
  std::size_t streams = 1;  // in a slice
  double allocations = 0;   // a stream
  std::vector<double> ns = {};
};

void calibrate(Measured& one) {
  const auto run = [&one](std::size_t count) { one.run(count); };
  one.run(10);
  one.streams = std::max<std::size_t>(1, static_cast<std::size_t>(kSliceNs / ns_per_stream(run, 10)));
  const uint64_t before = allocations().count;
  one.run(100);
  one.allocations = static_cast<double>(allocations().count - before) / 100;
}

int run(const std::string& wanted) {
  std::deque<Subject> subjects;
  for (Case& one : cases()) {
    if (one.name.find(wanted) != std::string::npos) subjects.emplace_back(std::move(one));
  }
  if (subjects.empty()) {
    std::fprintf(stderr, "engine: no case has '%s' in its name\n", wanted.c_str());
    return 1;
  }

  const std::vector<std::string> plain = messages_of(Script(ScriptOptions{}));
  wire::RequestView view;
  std::vector<Measured> all;
  all.push_back({"RequestView alone",
                 [&](std::size_t streams) {
                   for (std::size_t i = 0; i < streams; ++i) {
                     for (const std::string& message : plain) {
                       if (!view.parse(message).ok()) std::abort();
                     }
                   }
                 },
                 plain.size(), plain[0].size() + plain[1].size()});
  for (Subject& subject : subjects) {
    all.push_back({subject.name(), [&subject](std::size_t streams) { subject.run(streams); },
                   subject.message_count(), subject.message_bytes(), idle_bytes(subject)});
  }
  for (Measured& one : all) calibrate(one);
  for (int round = 0; round < kRounds; ++round) {
    for (Measured& one : all) {
      one.ns.push_back(ns_per_stream([&one](std::size_t count) { one.run(count); }, one.streams));
    }
  }

  std::printf("%-34s %9s %9s %8s %8s %8s %8s %8s\n", "", "least", "median", "ratio", "allocs", "allocs",
              "idle", "MB/s");
  std::printf("%-34s %9s %9s %8s %8s %8s %8s %8s\n", "a stream", "ns", "ns", "to view", "/stream", "/message",
              "bytes", "");
  for (const Measured& one : all) {
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      const auto at = static_cast<std::size_t>(round);
      ratios.push_back(one.ns[at] / all[0].ns[at]);
    }
    const double least = *std::min_element(one.ns.begin(), one.ns.end());
    std::printf("%-34s %9.0f %9.0f %8.2f %8.2f %8.2f %8.0f %8.0f\n", one.name.c_str(), least, median(one.ns),
                median(ratios), one.allocations, one.allocations / static_cast<double>(one.messages),
                one.idle_bytes, static_cast<double>(one.bytes) / least * 1000);
  }
  std::printf("with a second thread beside it, a stream of '%s' takes %.2f times the CPU time\n",
              subjects[0].name().c_str(), slowed_by_second_thread(subjects[0], all[1].streams));
  return 0;
}

}  // namespace
}  // namespace extprocd::bench

/// Only cases that have the argument in their name, if there is one.
int main(int argc, char** argv) { return extprocd::bench::run(argc > 1 ? argv[1] : ""); }
