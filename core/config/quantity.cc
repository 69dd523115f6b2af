#include "core/config/quantity.h"

#include <charconv>
#include <utility>

namespace extprocd::config {
namespace {

/// Splits "12 MiB" into its number and what follows it; false if it does not begin with a number.
template <typename Number>
bool split(std::string_view text, Number& number, std::string_view& unit) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  return true;
}

constexpr std::pair<std::string_view, uint64_t> kSizes[] = {{"", 1},
                                                            {"B", 1},
                                                            {"KB", 1000},
                                                            {"MB", 1000000},
                                                            {"GB", 1000000000},
                                                            {"KiB", 1ULL << 10},
                                                            {"MiB", 1ULL << 20},
                                                            {"GiB", 1ULL << 30}};
constexpr std::pair<std::string_view, double> kDurations[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t number = 0;
  std::string_view unit;
  if (!split(text, number, unit)) return std::nullopt;
  for (const auto& [name, factor] : kSizes) {
    if (name != unit) continue;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(number, factor, &bytes)) return std::nullopt;
    return bytes;
  }
  return std::nullopt;
}

std::optional<double> parse_duration(std::string_view text) {
  double number = 0;
  std::string_view unit;
  if (!split(text, number, unit)) return std::nullopt;
  for (const auto& [name, factor] : kDurations) {
    if (name == unit) return number * factor;
  }
  return std::nullopt;
}

}  // namespace extprocd::config
