#pragma once

#include <chrono>
#include <cstdint>

namespace extproc {
inline namespace v1 {
namespace detail {

/// In nanoseconds; what is negative is 0, what is more than fits is the most that fits.
template <typename Count, typename Period>
std::uint64_t to_nanoseconds(std::chrono::duration<Count, Period> time) noexcept {
  using std::chrono::nanoseconds;
  if (!(time.count() > 0)) return 0;
  if (std::chrono::duration<double>(time) >= std::chrono::duration<double>(nanoseconds::max())) {
    return static_cast<std::uint64_t>(nanoseconds::max().count());
  }
  return static_cast<std::uint64_t>(std::chrono::duration_cast<nanoseconds>(time).count());
}

}  // namespace detail
}  // namespace v1
}  // namespace extproc
