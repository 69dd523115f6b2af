#include "core/http/header_syntax.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace extprocd::http {
namespace {

// The limit that the ext_proc contract puts on names and values (HeaderValue in core.v3).
constexpr std::size_t kMaxBytes = 16384;

constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> table{};
  for (unsigned char c = '0'; c <= '9'; ++c) table[c] = true;
  for (unsigned char c = 'a'; c <= 'z'; ++c) table[c] = true;
  for (unsigned char c = 'A'; c <= 'Z'; ++c) table[c] = true;
  for (const unsigned char c : std::string_view("!#$%&'*+-.^_`|~")) table[c] = true;
  return table;
}
constexpr std::array<bool, 256> kToken = make_token_table();

constexpr bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr char to_lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

bool is_valid_name(std::string_view name) {
  if (name.size() > kMaxBytes) return false;
  if (name.starts_with(':')) name.remove_prefix(1);
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return kToken[static_cast<unsigned char>(c)]; });
}

bool is_valid_value(std::string_view value) {
  return value.size() <= kMaxBytes && std::all_of(value.begin(), value.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
         });
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return to_lower(x) == to_lower(y); });
}

std::string_view lower_case_copy(std::string_view name, Arena& arena) {
  auto* target = arena.allocate_array<char>(name.size());
  std::transform(name.begin(), name.end(), target, to_lower);
  return {target, name.size()};
}

uint32_t parse_status(std::string_view value) {
  if (value.size() != 3 || value[0] < '1' || value[0] > '5') return 0;
  uint32_t status = 0;
  for (const char c : value) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + static_cast<uint32_t>(c - '0');
  }
  return status;
}

}  // namespace extprocd::http
