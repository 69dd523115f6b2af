#include "test/bench/load/hold.h"

#include <utility>

namespace extprocd::bench {
namespace {

constexpr std::size_t kUnanswered = 256;  // at a time, so that the server's buffers stay small
constexpr Clock::duration kSettle = std::chrono::milliseconds(200);

}  // namespace

Hold::Hold(const Options& options, const Conduct& conduct, Connections& connections,
           const ServerProcesses& server)
    : options_(options), conduct_(conduct), connections_(connections), server_(server) {}

Report Hold::run() {
  Report::Memory memory{.before = server_.resident(), .message = conduct_.script.steps.front().frames.size()};
  const Clock::time_point deadline = Clock::now() + options_.timeout;
  for (std::size_t begun = 0; (begun < options_.streams || held_.size() < open_) && report_.faults.empty();) {
    for (; begun < options_.streams && open_ - held_.size() < kUnanswered; ++begun) {
      ++open_;
      connections_.begin(std::make_unique<Exchange>(conduct_, *this, Clock::now()));
    }
    connections_.wait(deadline - Clock::now());
    if (Clock::now() >= deadline) ++report_.faults["not all streams were answered in time"];
  }
  stay(options_.duration);
  memory.held = server_.resident();
  memory.streams = held_.size();

  for (Exchange* exchange : std::exchange(held_, {})) exchange->go_on();
  const Clock::time_point end = Clock::now() + options_.timeout;
  while (open_ > 0 && Clock::now() < end) connections_.wait(end - Clock::now());
  if (open_ > 0) report_.faults["no end in time"] += open_;
  stay(kSettle);
  memory.after = server_.resident();
  report_.memory = memory;
  return std::move(report_);
}

void Hold::stay(Clock::duration time) {
  const Clock::time_point end = Clock::now() + time;
  while (Clock::now() < end && report_.faults.empty()) connections_.wait(end - Clock::now());
}

void Hold::on_step(Exchange& exchange, std::size_t step, Clock::duration /*latency*/) {
  if (step == 0) held_.insert(&exchange);
}

void Hold::on_end(Exchange& exchange, std::string_view fault) {
  --open_;
  ++report_.all_streams;
  held_.erase(&exchange);
  fault.empty() ? ++report_.streams : ++report_.faults[std::string(fault)];
}

}  // namespace extprocd::bench
