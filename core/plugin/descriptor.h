#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include <extproc/abi.h>

namespace extprocd::plugin {

/// Is this a descriptor that this host can work with? `extensions` are the names that the host has. Errors
/// say what was found, what was expected and what to do. Reads only fields that the descriptor's size covers.
absl::Status check_descriptor(const extproc_plugin* descriptor,
                              const std::vector<std::string_view>& extensions);

}  // namespace extprocd::plugin
