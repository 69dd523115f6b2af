#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"

#include "core/wire/value.h"

namespace extprocd::wire {

/// How deep lists and structs may lie in one another. Protobuf's parser, with which Envoy reads a reply, gives up at a
/// hundred messages in one another, and a level of a struct takes three; with a namespace around them 31 levels pass.
inline constexpr std::size_t kMaxValueDepth = 30;

/// The value that a JSON text (RFC 8259, in UTF-8) says. INVALID_ARGUMENT names what is wrong and at which byte, counted
/// from 0: bad syntax, bytes that are not UTF-8, a number that no double can hold, a key that comes twice in an object.
/// RESOURCE_EXHAUSTED: nested deeper than kMaxValueDepth.
[[nodiscard]] absl::StatusOr<Value> parse_json(std::string_view text);

}  // namespace extprocd::wire
