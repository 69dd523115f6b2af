#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace extprocd::plugin {

/// The private place that modules are copied to before they are mapped. The dynamic loader knows a library by
/// its file, and a mapped file that is overwritten corrupts running code: a copy under a name of its own is
/// safe from both.
///
/// The copies are removed with this object; what is mapped stays. One thread.
class Staging {
 public:
  /// `runtime_dir`: as configured; empty: $RUNTIME_DIRECTORY, else a new folder in /tmp. Where no folder can
  /// be written, or that is mounted noexec, copies are kept in memory.
  static absl::StatusOr<Staging> create(const std::string& runtime_dir);

  Staging(Staging&& other) noexcept;
  Staging& operator=(Staging&&) = delete;
  ~Staging();

  /// Writes a copy and gives the absolute path to map it from. `name` is for people.
  absl::StatusOr<std::string> add(std::string_view name, std::string_view content);

 private:
  Staging() = default;

  std::string folder_;       // empty: in memory
  bool own_folder_ = false;  // made here, removed here
  std::vector<std::string> files_;
};

}  // namespace extprocd::plugin
