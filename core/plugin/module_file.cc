#include "core/plugin/module_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <extproc/abi.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/plugin/elf.h"

namespace extprocd::plugin {
namespace {

constexpr off_t kMaxSize = off_t{1} << 30;

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int get() const { return number_; }
  [[nodiscard]] bool ok() const { return number_ >= 0; }

 private:
  int number_;
};

absl::Status refuse(const std::string& path, const std::string& text) {
  return absl::FailedPreconditionError(path + ": " + text);
}

absl::Status check_owner_and_mode(const std::string& path, const struct stat& info) {
  if (info.st_uid != 0 && info.st_uid != geteuid()) {
    return refuse(path, "found owner " + std::to_string(info.st_uid) +
                            "; expected root or the server's user " + std::to_string(geteuid()) +
                            ": change it with chown");
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(info.st_mode & 07777));
    return refuse(
        path, std::string("found mode ") + mode +
                  ", writable by group or others, who could put code into the server: run chmod go-w on it");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> read_all(int file, off_t size, const std::string& path) {
  std::string content(static_cast<std::size_t>(size), '\0');
  std::size_t have = 0;
  while (have < content.size()) {
    const ssize_t got = pread(file, content.data() + have, content.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(path, std::string("cannot be read: ") + std::strerror(errno));
    if (got == 0) return refuse(path, "became shorter while it was read; install modules by rename");
    have += static_cast<std::size_t>(got);
  }
  return content;
}

std::string sha256_of(std::string_view content) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(content.data(), content.size(), digest, &size, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", digest[i]);
    hex += digits;
  }
  return hex;
}

absl::Status check_elf(const std::string& path, std::string_view content) {
  const auto info = read_elf(content);
  if (!info.ok()) return refuse(path, std::string(info.status().message()));
  if (std::find(info->exports.begin(), info->exports.end(), EXTPROC_ENTRY_SYMBOL) == info->exports.end()) {
    return refuse(path, "found no exported symbol " EXTPROC_ENTRY_SYMBOL
                        "; is this a plugin? EXTPROC_EXPORT_PLUGIN makes the symbol");
  }
  for (const std::string& library : info->needed) {
    if (library.starts_with("libprotobuf") || library.starts_with("libgrpc")) {
      return refuse(path, "found that it links " + library +
                              "; a second user of generated code aborts the whole process: link that library "
                              "statically with hidden symbols, or do without it");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModuleFile> read_module_file(const std::string& directory, const std::string& name,
                                            const std::optional<std::string>& sha256) {
  ModuleFile module;
  module.path = directory + "/" + name;
  if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..") {
    return refuse(module.path, "a module is the name of a file in plugins.directory, without a folder");
  }
  const Descriptor folder(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat info{};
  if (!folder.ok() || fstat(folder.get(), &info) != 0) {
    return refuse(directory, std::string("plugins.directory cannot be opened: ") + std::strerror(errno));
  }
  if (absl::Status status = check_owner_and_mode(directory, info); !status.ok()) return status;

  const Descriptor file(openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file.ok()) {
    return refuse(module.path, errno == ELOOP
                                   ? "found a symbolic link; put the file itself into plugins.directory"
                                   : std::string("cannot be opened: ") + std::strerror(errno));
  }
  if (fstat(file.get(), &info) != 0) return refuse(module.path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return refuse(module.path, "found something that is no regular file");
  if (absl::Status status = check_owner_and_mode(module.path, info); !status.ok()) return status;
  if (info.st_size > kMaxSize) return refuse(module.path, "found a file larger than 1 GiB");

  auto content = read_all(file.get(), info.st_size, module.path);
  if (!content.ok()) return content.status();
  module.content = std::move(*content);
  module.sha256 = sha256_of(module.content);
  if (sha256 && *sha256 != module.sha256) {
    return refuse(module.path, "found sha256 " + module.sha256 + "; expected " + *sha256 +
                                   " as configured: install that file, or change the configuration");
  }
  if (absl::Status status = check_elf(module.path, module.content); !status.ok()) return status;
  return module;
}

std::string default_plugin_directory() {
  std::error_code error;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path prefix = binary.parent_path().parent_path();
  const std::filesystem::path beside = prefix / "plugins";
  if (!error && std::filesystem::is_directory(beside, error)) return beside.string();
  return (prefix / EXTPROCD_LIBRARY_FOLDER / "extprocd" / "plugins").string();
}

}  // namespace extprocd::plugin
