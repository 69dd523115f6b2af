#pragma once

#include <string>
#include <string_view>

#include "core/config/config.h"

namespace extprocd::config {

/// TOML text as a tree of values, or the one syntax error in `error`.
struct ParsedToml {
  Value table;
  bool ok = false;
  Diagnostic error;
};
ParsedToml parse_toml(std::string_view text, const std::string& file);

}  // namespace extprocd::config
