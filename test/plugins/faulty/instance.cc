#include "instance.h"

#include <array>
#include <stdexcept>

#include "faults.h"

namespace faulty {
namespace {

constexpr std::array<std::string_view, EXTPROC_LOCAL_REPLY> kPhases = {
    "request_headers",  "request_body",  "request_trailers",
    "response_headers", "response_body", "response_trailers"};

uint64_t at_least_one(uint64_t number) {
  if (number == 0) throw std::runtime_error("backend_per_second must be 1 or more");
  return number;
}

}  // namespace

uint32_t phase_of(std::string_view name) {
  uint32_t phase = 0;
  while (phase < kPhases.size() && kPhases[phase] != name) ++phase;
  return phase;
}

Instance::Instance(const extproc_host& table)
    : host(table),
      phase(phase_of(host.text_or("phase", "request_headers"))),
      time(host.number_or("milliseconds", 20)),
      mark(host.text_or("mark", "")),
      begun(host.counter("begun_total", "Streams that were begun.")),
      ended(host.counter("ended_total", "Streams that were ended.")),
      suspended(host.counter("suspended_total", "Callbacks that were suspended.")),
      resumed(host.counter("resumed_total", "Calls of on_resumed.")),
      cancelled_over(
          host.counter("cancelled_stream_over_total", "Suspensions that the end of the stream cancelled.")),
      cancelled_timeout(host.counter("cancelled_timeout_total", "Suspensions that took too long.")),
      wrong(host.counter("wrong_total", "What the contract rules out, and has happened.")),
      backend(host, later, at_least_one(host.number_or("backend_per_second", 1000))) {
  const std::string name = host.text_or("fault", "none");
  if (phase == EXTPROC_LOCAL_REPLY) throw std::runtime_error("there is no such phase");
  if (name == "none") return;
  fault = find_fault(name);
  if (fault == nullptr) throw std::runtime_error("there is no fault '" + name + "'");
}

void Instance::count_wrong(std::string_view what) const {
  host.table->log(host.table, EXTPROC_LOG_ERROR, abi("wrong: " + std::string(what)));
  host.count(wrong);
}

}  // namespace faulty
