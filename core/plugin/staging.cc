#include "core/plugin/staging.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace extprocd::plugin {
namespace {

absl::Status failed(const std::string& what, int error) {
  return absl::FailedPreconditionError(what + ": " + std::strerror(error));
}

absl::Status write_all(int file, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("cannot write " + path, errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

/// systemd gives a list joined by colons; the first one serves.
std::string runtime_directory_of_the_service() {
  const char* value = std::getenv("RUNTIME_DIRECTORY");
  const std::string list = value == nullptr ? "" : value;
  return list.substr(0, list.find(':'));
}

/// Nothing can be mapped from a file system mounted noexec, as Debian mounts /run and Docker a --tmpfs.
bool is_noexec(const std::string& folder) {
  struct statvfs info{};
  return statvfs(folder.c_str(), &info) == 0 && (info.f_flag & ST_NOEXEC) != 0;
}

}  // namespace

absl::StatusOr<Staging> Staging::create(const std::string& runtime_dir) {
  Staging staging;
  staging.folder_ = runtime_dir.empty() ? runtime_directory_of_the_service() : runtime_dir;
  if (!staging.folder_.empty()) {
    if (staging.folder_[0] != '/') {
      return absl::FailedPreconditionError("plugins.runtime_dir must be an absolute path, not '" +
                                           staging.folder_ + "'");
    }
    if (mkdir(staging.folder_.c_str(), 0700) != 0 && errno != EEXIST) {
      return failed("plugins.runtime_dir " + staging.folder_ + " cannot be made", errno);
    }
    if (access(staging.folder_.c_str(), W_OK | X_OK) != 0) {
      return failed("plugins.runtime_dir " + staging.folder_ + " cannot be written", errno);
    }
    if (!is_noexec(staging.folder_)) return staging;
    if (!runtime_dir.empty()) {
      return absl::FailedPreconditionError("plugins.runtime_dir " + runtime_dir +
                                           " is mounted noexec, so modules cannot run from it: name another "
                                           "folder, or leave it out to keep the copies in memory");
    }
    staging.folder_.clear();
    return staging;
  }
  char pattern[] = "/tmp/extprocd-XXXXXX";
  if (const char* made = is_noexec("/tmp") ? nullptr : mkdtemp(pattern)) {
    staging.folder_ = made;
    staging.own_folder_ = true;
  }
  return staging;
}

Staging::Staging(Staging&& other) noexcept
    : folder_(std::exchange(other.folder_, {})),
      own_folder_(std::exchange(other.own_folder_, false)),
      files_(std::exchange(other.files_, {})) {}

Staging::~Staging() {
  for (const std::string& file : files_) unlink(file.c_str());
  if (own_folder_) rmdir(folder_.c_str());
}

absl::StatusOr<std::string> Staging::add(std::string_view name, std::string_view content) {
  static std::atomic<unsigned> next{0};
  const std::string unique =
      std::string(name) + "." + std::to_string(getpid()) + "." + std::to_string(next.fetch_add(1)) + ".so";
  if (folder_.empty()) {
    const int file = memfd_create(unique.c_str(), MFD_CLOEXEC);
    if (file < 0)
      return failed("no folder can be written, and no memory file made for " + std::string(name), errno);
    if (absl::Status status = write_all(file, content, "a memory file"); !status.ok()) {
      close(file);
      return status;
    }
    // It stays open: were its number used again, the loader would take the new file for the old one.
    return "/proc/self/fd/" + std::to_string(file);
  }
  std::string path = folder_ + "/" + unique;
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0500);
  if (file < 0) return failed("cannot make " + path, errno);
  absl::Status status = write_all(file, content, path);
  close(file);
  files_.push_back(path);
  if (!status.ok()) return status;
  return path;
}

}  // namespace extprocd::plugin
