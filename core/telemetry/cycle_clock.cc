#include "core/telemetry/cycle_clock.h"

#if defined(__x86_64__)
#include <algorithm>

#include <cpuid.h>

namespace extprocd::telemetry::detail {
namespace {

constexpr int64_t kValidNs = 1'000'000;
// In cycles. A reading that took longer was interrupted, or the counter is emulated: the two do not fit together.
constexpr uint64_t kLongestReading = 2000;
// Rates that no processor has tell of a machine that was suspended or moved. Nanoseconds a cycle.
constexpr double kFastest = 0.05;
constexpr double kSlowest = 10;

/// Does the counter run at the same rate whatever the processor does? AMD64 Architecture Programmer's Manual, volume 3,
/// CPUID Fn8000_0007_EDX, TscInvariant; Intel has it in the same place.
bool counts_evenly() noexcept {
  constexpr unsigned kPowerManagement = 0x80000007;
  constexpr unsigned kTscInvariant = 1U << 8;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(kPowerManagement, &eax, &ebx, &ecx, &edx) != 0 && (edx & kTscInvariant) != 0;
}

/// Takes the rate from what has passed since the anchor, if that can be, and counts from here on.
void move_anchor(CycleAnchor& anchor, uint64_t cycles, int64_t time) noexcept {
  const double rate = static_cast<double>(time - anchor.time) / static_cast<double>(cycles - anchor.cycles);
  if (anchor.cycles != 0 && rate > kFastest && rate < kSlowest) {
    anchor.scale = static_cast<uint64_t>(rate * static_cast<double>(uint64_t{1} << kScaleBits));
    anchor.valid_for = static_cast<uint64_t>(static_cast<double>(kValidNs) / rate);
  }
  anchor.cycles = cycles;
  anchor.time = time;
}

}  // namespace

std::chrono::steady_clock::time_point read_steady_clock() noexcept {
  static const bool is_even = counts_evenly();
  CycleAnchor& anchor = cycle_anchor;
  const uint64_t before = __rdtsc();
  const std::chrono::nanoseconds steady = std::chrono::steady_clock::now().time_since_epoch();
  const uint64_t cycles = __rdtsc();
  const uint64_t told = std::min(cycles - anchor.cycles, anchor.valid_for);
  const int64_t latest = anchor.time + static_cast<int64_t>((told * anchor.scale) >> kScaleBits);
  const int64_t time = std::max<int64_t>(steady.count(), latest);
  const bool is_due = anchor.cycles == 0 || time - anchor.time >= kValidNs;
  if (is_even && is_due && cycles - before <= kLongestReading) move_anchor(anchor, cycles, time);
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(time));
}

}  // namespace extprocd::telemetry::detail
#endif
