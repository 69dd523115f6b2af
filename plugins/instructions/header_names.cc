#include "plugins/instructions/header_names.h"

#include <algorithm>

namespace instructions {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool matches(const std::vector<std::string>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&name](const std::string& pattern) {
    if (pattern.empty() || pattern.back() != '*') return pattern == name;
    return name.compare(0, pattern.size() - 1, pattern, 0, pattern.size() - 1) == 0;
  });
}

}  // namespace

HeaderNames::HeaderNames(const std::vector<std::string>& allow, const std::vector<std::string>& deny) {
  for (const std::string& pattern : allow) allow_.push_back(lower(pattern));
  for (const std::string& pattern : deny) deny_.push_back(lower(pattern));
}

bool HeaderNames::permits(std::string_view raw) const {
  const std::string name = lower(raw);
  return !matches(deny_, name) && (allow_.empty() || matches(allow_, name));
}

}  // namespace instructions
