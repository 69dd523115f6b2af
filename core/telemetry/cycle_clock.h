#pragma once

#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace extprocd::telemetry {

#if defined(__x86_64__)
namespace detail {

/// What one thread reckons the time by: the steady clock as it was read last, and the processor's cycles since then.
struct CycleAnchor {
  uint64_t cycles = 0;
  int64_t time = 0;        // of the steady clock, in ns
  uint64_t scale = 0;      // ns a cycle, times 2^32
  uint64_t valid_for = 0;  // cycles, then the steady clock is read again; 0: always
};
inline constexpr unsigned kScaleBits = 32;
inline constinit thread_local CycleAnchor cycle_anchor;

/// Reads the steady clock, and begins anew to count from there if that is any use.
std::chrono::steady_clock::time_point read_steady_clock() noexcept;

}  // namespace detail
#endif

/// The time of std::chrono::steady_clock at half its price, for what is measured many times a stream. Where the processor
/// counts its cycles evenly it is reckoned from them, and taken from the steady clock anew each millisecond, so that it
/// is a few microseconds beside it at most. It never goes back on one thread. From any thread.
inline std::chrono::steady_clock::time_point cycle_clock_now() noexcept {
#if defined(__x86_64__)
  const detail::CycleAnchor& anchor = detail::cycle_anchor;
  const uint64_t since = __rdtsc() - anchor.cycles;
  if (since >= anchor.valid_for) return detail::read_steady_clock();
  const auto passed = static_cast<int64_t>((since * anchor.scale) >> detail::kScaleBits);
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(anchor.time + passed));
#else
  return std::chrono::steady_clock::now();
#endif
}

}  // namespace extprocd::telemetry
