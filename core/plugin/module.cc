#include "core/plugin/module.h"

#include <exception>
#include <utility>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include "core/plugin/descriptor.h"
#include "core/plugin/module_file.h"

namespace extprocd::plugin {
namespace {

absl::Status refuse(const std::string& path, const std::string& text) {
  return absl::FailedPreconditionError(path + ": " + text);
}

/// Maps a file for good and asks it for its descriptor.
absl::StatusOr<const extproc_plugin*> map(const std::string& path, const std::string& staged) {
  using boost::dll::load_mode::type;
  try {
    // Never destroyed: that would unload it. Missing symbols show now, not in traffic; none leaks to other
    // modules.
    auto* library = new boost::dll::shared_library();
    static auto* const kept = new std::vector<boost::dll::shared_library*>();
    kept->push_back(library);
    library->load(staged, type::rtld_now | type::rtld_local);
    const auto entry = library->get<const extproc_plugin*()>(EXTPROC_ENTRY_SYMBOL);
    return entry();
  } catch (const std::exception& exception) {
    return refuse(path, std::string("cannot be loaded: ") + exception.what());
  } catch (...) {
    return refuse(path, "cannot be loaded: its entry function threw");
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Module>> ModuleRegistry::load(const std::string& directory,
                                                                   const std::string& name,
                                                                   const std::optional<std::string>& sha256) {
  const auto file = read_module_file(directory, name, sha256);
  if (!file.ok()) return file.status();
  if (const auto known = by_hash_.find(file->sha256); known != by_hash_.end()) return known->second;

  const auto staged = staging_.add(name + "-" + file->sha256.substr(0, 16), file->content);
  if (!staged.ok()) return refuse(file->path, std::string(staged.status().message()));
  const auto descriptor = map(file->path, *staged);
  if (!descriptor.ok()) return descriptor.status();
  if (const absl::Status status = check_descriptor(*descriptor, extensions_); !status.ok()) {
    return refuse(file->path, std::string(status.message()));
  }
  auto module = std::make_shared<const Module>(Module{file->path, file->sha256, *descriptor});
  by_hash_.emplace(file->sha256, module);
  return module;
}

}  // namespace extprocd::plugin
