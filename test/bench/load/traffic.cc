#include "test/bench/load/traffic.h"

#include <algorithm>
#include <string>

namespace extprocd::bench {
namespace {

constexpr uint64_t kMaxFaults = 100;  // enough to know what is wrong

std::string seconds_text(std::chrono::nanoseconds time) {
  std::string text = std::to_string(std::chrono::duration<double>(time).count());
  return text.substr(0, text.find('.') + 2) + " s";
}

}  // namespace

Traffic::Traffic(const Options& options, const Conduct& conduct, Connections& connections,
                 const ServerProcesses& server)
    : options_(options), conduct_(conduct), connections_(connections), server_(server) {
  for (const Step& step : conduct.script.steps) report_.series.push_back({std::string(step.name), {}});
  report_.series.push_back({"stream", {}});
}

Report Traffic::run() {
  Clock::time_point now = Clock::now();
  window_begin_ = now + options_.warm_up;
  window_end_ = window_begin_ + options_.duration;
  next_due_ = now;
  last_progress_ = now;
  while (!is_over(now)) {
    if (!window_is_open_ && now >= window_begin_) open_window(now);
    begin_due(now);
    connections_.wait(next_event() - Clock::now());
    now = Clock::now();
  }
  if (window_is_open_) close_window();
  finish();
  return std::move(report_);
}

bool Traffic::is_over(Clock::time_point now) const {
  const bool all_done = options_.count != 0 && begun_ == options_.count && in_flight_ == 0;
  return now >= window_end_ || all_done || fault_count_ >= kMaxFaults || !connections_.lost().empty() ||
         is_stuck(now);
}

bool Traffic::is_stuck(Clock::time_point now) const {
  return in_flight_ > 0 && now >= last_progress_ + options_.timeout;
}

bool Traffic::may_begin() const {
  return in_flight_ < options_.streams && (options_.count == 0 || begun_ < options_.count) &&
         fault_count_ < kMaxFaults;
}

void Traffic::begin_due(Clock::time_point now) {
  if (options_.rate == 0) {
    while (may_begin()) begin(now);
    return;
  }
  const auto period = std::chrono::nanoseconds(static_cast<int64_t>(1e9 / options_.rate));
  while (next_due_ <= now && may_begin()) {
    report_.latest_start = std::max(report_.latest_start, std::chrono::nanoseconds(now - next_due_));
    begin(next_due_);
    next_due_ += period;
  }
}

void Traffic::begin(Clock::time_point intended) {
  if (in_flight_ == 0) last_progress_ = Clock::now();
  ++begun_;
  ++in_flight_;
  connections_.begin(std::make_unique<Exchange>(conduct_, *this, intended));
}

Clock::time_point Traffic::next_event() const {
  Clock::time_point next = window_is_open_ ? window_end_ : window_begin_;
  if (options_.rate != 0 && may_begin()) next = std::min(next, next_due_);
  if (in_flight_ > 0) next = std::min(next, last_progress_ + options_.timeout);
  return next;
}

void Traffic::open_window(Clock::time_point now) {
  window_is_open_ = true;
  window_begin_ = now;
  window_end_ = window_begin_ + options_.duration;
  report_.server_cpu = server_.cpu_time();
  report_.own_cpu = own_cpu_time();
}

void Traffic::close_window() {
  window_is_open_ = false;
  window_end_ = std::min(window_end_, Clock::now());
  report_.server_cpu = server_.cpu_time() - report_.server_cpu;
  report_.own_cpu = own_cpu_time() - report_.own_cpu;
  report_.window = window_end_ - window_begin_;
}

void Traffic::finish() {
  const bool is_short = options_.count != 0 && begun_ < options_.count;
  const Clock::time_point deadline = Clock::now() + options_.timeout;
  Clock::time_point now = Clock::now();
  while (in_flight_ > 0 && now < deadline && !is_stuck(now)) {
    connections_.wait(std::min(deadline, last_progress_ + options_.timeout) - now);
    now = Clock::now();
  }
  if (in_flight_ > 0) report_.faults["no answer within " + seconds_text(options_.timeout)] += in_flight_;
  if (is_short && report_.faults.empty()) {
    ++report_.faults["only " + std::to_string(begun_) + " of " + std::to_string(options_.count) +
                     " streams were begun in time"];
  }
}

bool Traffic::is_measured(Clock::time_point begun) const {
  return begun >= window_begin_ && begun < window_end_;
}

bool Traffic::is_refusal(std::string_view fault) const {
  return std::ranges::any_of(options_.refusals,
                             [&](const std::string& text) { return fault.starts_with(text); });
}

void Traffic::on_step(Exchange& exchange, std::size_t step, Clock::duration latency) {
  last_progress_ = Clock::now();
  if (is_measured(exchange.intended())) report_.series[step].latencies.add(latency);
}

void Traffic::on_echo(std::size_t bytes) {
  last_progress_ = Clock::now();
  if (window_is_open_) report_.echoed_bytes += bytes;
}

void Traffic::on_end(Exchange& exchange, std::string_view fault) {
  last_progress_ = Clock::now();
  --in_flight_;
  ++report_.all_streams;
  if (is_refusal(fault)) {
    if (window_is_open_) ++report_.refused;
    if (is_measured(exchange.intended())) report_.refusals.add(last_progress_ - exchange.intended());
    return;
  }
  if (!fault.empty()) {
    ++fault_count_;
    ++report_.faults[std::string(fault)];
    return;
  }
  if (window_is_open_) ++report_.streams;
  if (is_measured(exchange.intended()))
    report_.series.back().latencies.add(last_progress_ - exchange.intended());
}

}  // namespace extprocd::bench
