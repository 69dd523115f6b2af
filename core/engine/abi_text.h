#pragma once

#include <string_view>

#include <extproc/abi.h>

namespace extprocd::engine {

/// Text that a plugin handed in. A null pointer with a size counts as empty: no plugin can crash the host
/// with it.
inline std::string_view from_abi(const extproc_str& text) {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

/// Text for a plugin, borrowed.
inline extproc_str to_abi(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace extprocd::engine
