#include "core/plugin/elf.h"

#include <cstdint>
#include <cstring>
#include <optional>

#include <elf.h>

namespace extprocd::plugin {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "name this machine's ELF number"
#endif

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "i386";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return "riscv";
    default:
      return "number " + std::to_string(machine);
  }
}

absl::Status truncated() {
  return absl::InvalidArgumentError(
      "found an ELF file that is cut off or damaged; expected a whole shared object");
}

/// Bounds-checked access to a file's structures, which need not be aligned.
class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  template <typename T>
  std::optional<T> at(uint64_t offset) const {
    if (offset > file_.size() || file_.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, file_.data() + offset, sizeof value);
    return value;
  }

  /// The text that begins at `offset` and ends with NUL, inside the section.
  std::optional<std::string> text(const Elf64_Shdr& section, uint64_t offset) const {
    if (section.sh_offset > file_.size() || file_.size() - section.sh_offset < section.sh_size)
      return std::nullopt;
    if (offset >= section.sh_size) return std::nullopt;
    const std::string_view all = file_.substr(section.sh_offset, section.sh_size).substr(offset);
    const std::size_t end = all.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    return std::string(all.substr(0, end));
  }

 private:
  std::string_view file_;
};

absl::Status check_header(const Elf64_Ehdr& header) {
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return absl::InvalidArgumentError("found an ELF file that is not 64-bit little-endian");
  }
  if (header.e_machine != kMachine) {
    return absl::InvalidArgumentError("found a module for another machine (" +
                                      machine_name(header.e_machine) + "); expected " +
                                      machine_name(kMachine) + ": build it for this machine");
  }
  if (header.e_type != ET_DYN) {
    return absl::InvalidArgumentError("found an ELF file that is no shared object; build it with -shared");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ElfInfo> read_elf(std::string_view file) {
  if (!file.starts_with(ELFMAG)) {
    return absl::InvalidArgumentError("found a file that is not ELF; expected a shared object");
  }
  const Reader reader(file);
  const auto header = reader.at<Elf64_Ehdr>(0);
  if (!header) return truncated();
  if (const absl::Status status = check_header(*header); !status.ok()) return status;
  if (header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shnum == 0) {
    return absl::InvalidArgumentError("found a shared object without section headers; do not strip them");
  }

  std::vector<Elf64_Shdr> sections;
  for (uint16_t i = 0; i < header->e_shnum; ++i) {
    const auto section = reader.at<Elf64_Shdr>(header->e_shoff + uint64_t{i} * sizeof(Elf64_Shdr));
    if (!section) return truncated();
    sections.push_back(*section);
  }
  ElfInfo info;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_DYNAMIC && section.sh_type != SHT_DYNSYM) continue;
    if (section.sh_link >= sections.size() || section.sh_size > file.size()) return truncated();
    const Elf64_Shdr& strings = sections[section.sh_link];
    if (section.sh_type == SHT_DYNAMIC) {
      for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= section.sh_size; at += sizeof(Elf64_Dyn)) {
        const auto entry = reader.at<Elf64_Dyn>(section.sh_offset + at);
        if (!entry) return truncated();
        if (entry->d_tag != DT_NEEDED) continue;
        const auto name = reader.text(strings, entry->d_un.d_val);
        if (!name) return truncated();
        info.needed.push_back(*name);
      }
    } else {
      for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
        const auto symbol = reader.at<Elf64_Sym>(section.sh_offset + at);
        if (!symbol) return truncated();
        const bool visible = ELF64_ST_VISIBILITY(symbol->st_other) == STV_DEFAULT;
        if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL || !visible)
          continue;
        const auto name = reader.text(strings, symbol->st_name);
        if (!name) return truncated();
        info.exports.push_back(*name);
      }
    }
  }
  return info;
}

}  // namespace extprocd::plugin
