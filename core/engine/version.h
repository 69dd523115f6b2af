#pragma once

#include <string_view>

namespace extprocd::engine {

/// The server's version, as plugins, logs and metrics show it.
inline constexpr std::string_view kVersion = EXTPROCD_VERSION;

}  // namespace extprocd::engine
