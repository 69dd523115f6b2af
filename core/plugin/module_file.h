#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace extprocd::plugin {

/// A module's file, read and found trustworthy, not yet mapped.
struct ModuleFile {
  std::string path;
  std::string content;
  std::string sha256;  ///< 64 lower-case hex digits
};

/// Reads `name` in `directory` and checks it: a regular file there, not a link; owned by root or the server's
/// user; neither it nor the directory writable by group or others; with the pinned hash, if one is given; a
/// shared object for this machine with the entry symbol and without libprotobuf or libgrpc. Errors name the
/// file, what was found, what was expected and what to do.
absl::StatusOr<ModuleFile> read_module_file(const std::string& directory, const std::string& name,
                                            const std::optional<std::string>& sha256);

/// Where modules are if the configuration does not say: `plugins` beside the folder of the running binary, or
/// the installed library folder.
std::string default_plugin_directory();

}  // namespace extprocd::plugin
