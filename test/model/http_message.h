#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace extprocd::model {

/// Names in lower case with their values, in order.
using Headers = std::vector<std::pair<std::string, std::string>>;

/// One direction of an HTTP exchange as it comes to the data plane.
struct HttpMessage {
  Headers headers;
  /// Pieces in which the body comes; an empty last one is an end that came late. None: no body at all.
  std::vector<std::string> chunks;
  std::optional<Headers> trailers;
};

/// What went on to the upstream or to the client after the filter had its say.
struct Passed {
  std::optional<Headers> headers;
  std::string body;
  std::vector<std::string> grpc_messages;  ///< the same in GRPC mode, message by message
  std::optional<Headers> trailers;
  bool ended = false;
};

/// Values by name in order; the order of names among each other is nobody's business.
inline std::map<std::string, std::vector<std::string>> by_name(const Headers& headers) {
  std::map<std::string, std::vector<std::string>> grouped;
  for (const auto& [name, value] : headers) grouped[name].push_back(value);
  return grouped;
}

inline std::optional<std::string> first_value(const Headers& headers, std::string_view name) {
  const auto found = std::ranges::find_if(headers, [&](const auto& header) { return header.first == name; });
  if (found == headers.end()) return std::nullopt;
  return found->second;
}

inline void remove_all(Headers& headers, std::string_view name) {
  std::erase_if(headers, [&](const auto& header) { return header.first == name; });
}

/// One value of a name in place of all.
inline void overwrite(Headers& headers, const std::string& name, const std::string& value) {
  const auto named = [&](const auto& header) { return header.first == name; };
  const auto first = std::ranges::find_if(headers, named);
  if (first == headers.end()) {
    headers.emplace_back(name, value);
    return;
  }
  first->second = value;
  headers.erase(std::remove_if(first + 1, headers.end(), named), headers.end());
}

}  // namespace extprocd::model
