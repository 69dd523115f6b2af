#pragma once

#include <string>
#include <string_view>

namespace extprocd::http {

/// Is this well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF)? Protobuf demands it
/// of `string` fields: Envoy fails the whole message otherwise.
[[nodiscard]] bool is_utf8(std::string_view text);

/// The text with every byte that belongs to no well-formed sequence replaced by U+FFFD.
[[nodiscard]] std::string repair_utf8(std::string_view text);

}  // namespace extprocd::http
