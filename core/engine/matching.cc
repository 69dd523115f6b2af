#include "core/engine/matching.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/http/header_syntax.h"

namespace extprocd::engine {
namespace {

using config::NamedPatterns;
using config::TextPatterns;

std::string_view text_of(const extproc_str& text) { return {text.data, text.size}; }

/// Calls `see` with every value of a name until it says true; has it?
template <typename See>
bool any_value(std::span<const extproc_header> entries, std::string_view name, See see) {
  return std::any_of(entries.begin(), entries.end(), [&](const extproc_header& entry) {
    return text_of(entry.name) == name && see(text_of(entry.value));
  });
}

bool header_fits(std::span<const extproc_header> entries, std::string_view name,
                 const TextPatterns& patterns) {
  return any_value(entries, name, [&](std::string_view value) { return fits_any(patterns, value); });
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

/// Without ":port"; the colons of an IPv6 address are inside brackets.
std::string_view without_port(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  const std::size_t bracket = authority.rfind(']');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  return has_port ? authority.substr(0, colon) : authority;
}

bool authority_fits(const TextPatterns& patterns, std::span<const extproc_header> entries) {
  return any_value(entries, ":authority", [&](std::string_view value) {
    const std::string whole = lower(value);
    const std::string_view host = without_port(whole);
    return fits_any(patterns, whole) || fits_any(patterns, host);
  });
}

bool path_fits(const TextPatterns& patterns, std::span<const extproc_header> entries) {
  return any_value(entries, ":path", [&](std::string_view value) {
    return fits_any(patterns, value.substr(0, value.find_first_of("?#")));
  });
}

bool metadata_fits(const NamedPatterns& wanted, const Exchange& exchange) {
  return header_fits({exchange.facts.metadata, exchange.facts.metadata_count}, wanted.name, wanted.patterns);
}

bool attribute_fits(const NamedPatterns& wanted, const Exchange& exchange) {
  const auto value = exchange.attributes.get(wanted.name);
  return value && fits_any(wanted.patterns, *value);
}

bool is_response(uint32_t phase) {
  return phase == EXTPROC_RESPONSE_HEADERS || phase == EXTPROC_RESPONSE_BODY ||
         phase == EXTPROC_RESPONSE_TRAILERS;
}

}  // namespace

bool fits(const config::RequestMatch& match, Exchange& exchange) {
  const auto entries = exchange.map(EXTPROC_REQUEST_HEADERS)->original();
  return (match.authority.empty() || authority_fits(match.authority, entries)) &&
         (match.path.empty() || path_fits(match.path, entries)) &&
         (match.method.empty() || header_fits(entries, ":method", match.method)) &&
         std::all_of(
             match.header.begin(), match.header.end(),
             [&](const auto& wanted) { return header_fits(entries, wanted.name, wanted.patterns); }) &&
         std::all_of(match.metadata.begin(), match.metadata.end(),
                     [&](const auto& wanted) { return metadata_fits(wanted, exchange); }) &&
         std::all_of(match.attribute.begin(), match.attribute.end(),
                     [&](const auto& wanted) { return attribute_fits(wanted, exchange); });
}

bool fits_direction(const config::When& when, Exchange& exchange, uint32_t phase) {
  const bool response = is_response(phase);
  const auto entries =
      exchange.map(response ? EXTPROC_RESPONSE_HEADERS : EXTPROC_REQUEST_HEADERS)->original();
  if (response && !when.status.empty()) {
    const bool in_range = any_value(entries, ":status", [&](std::string_view value) {
      const uint32_t status = http::parse_status(value);
      return std::any_of(when.status.begin(), when.status.end(),
                         [&](const auto& range) { return range.least <= status && status <= range.most; });
    });
    if (!in_range) return false;
  }
  return when.content_type.empty() || any_value(entries, "content-type", [&](std::string_view value) {
           std::string_view media_type = value.substr(0, value.find(';'));
           while (media_type.ends_with(' ') || media_type.ends_with('\t')) media_type.remove_suffix(1);
           return fits_any(when.content_type, lower(media_type));
         });
}

}  // namespace extprocd::engine
