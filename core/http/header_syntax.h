#pragma once

#include <cstdint>
#include <string_view>

#include "core/http/arena.h"

namespace extprocd::http {

/// A header name that every data plane takes: one or more token characters of RFC 9110, at most 16,384 bytes,
/// or a pseudo-header of HTTP/2 (":path", ":status" …).
bool is_valid_name(std::string_view name);

/// A header value that every data plane takes: no control characters but horizontal tab, at most 16,384
/// bytes. Bytes from 0x80 on are allowed.
bool is_valid_value(std::string_view value);

/// Are the names the same without regard to ASCII case?
bool same_name(std::string_view a, std::string_view b);

/// The name in lower case: `name` itself where it is so already, else a copy in `arena`.
std::string_view lower_case(std::string_view name, Arena& arena);

/// The three digits of ":status" as a number; 0 if it is not one of 100 to 599.
uint32_t parse_status(std::string_view value);

}  // namespace extprocd::http
