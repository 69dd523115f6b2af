#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace extprocd::plugin {

/// What a shared object says of itself, read without running any of it.
struct ElfInfo {
  std::vector<std::string> needed;   ///< names of the libraries that it wants (DT_NEEDED)
  std::vector<std::string> exports;  ///< dynamic symbols that it defines and others may use
};

/// Reads a 64-bit shared object for this machine. INVALID_ARGUMENT says what was found instead. Any bytes are
/// safe.
absl::StatusOr<ElfInfo> read_elf(std::string_view file);

}  // namespace extprocd::plugin
