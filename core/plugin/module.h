#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <extproc/abi.h>

#include "core/plugin/staging.h"

namespace extprocd::plugin {

/// A shared object that is mapped. It stays mapped until the process ends, whatever becomes of this object:
/// unloading is often a silent no-op and otherwise where crashes come from. Immutable.
struct Module {
  std::string path;    ///< the file that it was read from
  std::string sha256;  ///< of its content
  const extproc_plugin* descriptor = nullptr;
};

/// Loads modules, each content once. One thread at a time.
class ModuleRegistry {
 public:
  /// `extensions`: the names of the extensions that the host has.
  ModuleRegistry(Staging staging, std::vector<std::string_view> extensions)
      : staging_(std::move(staging)), extensions_(std::move(extensions)) {}

  /// The module of a file in `directory`, mapped now or earlier. Errors name the file, what was found, what
  /// was expected and what to do; see read_module_file and check_descriptor for what is checked.
  absl::StatusOr<std::shared_ptr<const Module>> load(const std::string& directory, const std::string& name,
                                                     const std::optional<std::string>& sha256);

 private:
  Staging staging_;
  std::vector<std::string_view> extensions_;
  std::map<std::string, std::shared_ptr<const Module>> by_hash_;
};

}  // namespace extprocd::plugin
