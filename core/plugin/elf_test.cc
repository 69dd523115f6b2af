#include "core/plugin/elf.h"

#include <fstream>
#include <sstream>

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::plugin {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::string good_module() {
  std::ifstream file(TEST_MODULES "/good.so", std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

TEST(Elf, tells_exports_and_needed_libraries) {
  const auto info = read_elf(good_module());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_THAT(info->exports, Contains("extproc_plugin_entry_v1"));
  std::ifstream file(TEST_MODULES "/links_protobuf.so", std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  EXPECT_THAT(read_elf(content.str())->needed, Contains(HasSubstr("libprotobuf")));
}

TEST(Elf, a_module_for_another_machine_is_named_as_such) {
  std::string file = good_module();
  file[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_RISCV);
  file[offsetof(Elf64_Ehdr, e_machine) + 1] = 0;
  EXPECT_THAT(std::string(read_elf(file).status().message()), HasSubstr("another machine (riscv)"));
}

TEST(Elf, what_is_no_shared_object_is_refused) {
  EXPECT_FALSE(read_elf("").ok());
  EXPECT_FALSE(read_elf("#!/bin/sh\n").ok());
  EXPECT_FALSE(read_elf("\x7f"
                        "ELF")
                   .ok());
  std::string executable = good_module();
  executable[offsetof(Elf64_Ehdr, e_type)] = ET_EXEC;
  EXPECT_THAT(std::string(read_elf(executable).status().message()), HasSubstr("no shared object"));
}

TEST(Elf, no_damage_makes_it_read_outside_the_file) {
  const std::string whole = good_module();
  for (std::size_t size = 0; size < whole.size(); size += 97)
    EXPECT_FALSE(read_elf(whole.substr(0, size)).ok());
  unsigned seed = 1;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 8; ++i) {
      seed = seed * 1664525 + 1013904223;
      // Mostly in the header and in the section headers at the end, where the offsets are.
      const std::size_t range = (seed >> 8) % 2 == 0 ? 64 : 2048;
      const std::size_t at = range == 64 ? (seed >> 10) % 64 : damaged.size() - 1 - (seed >> 10) % range;
      damaged[at] = static_cast<char>(seed >> 24);
    }
    (void)read_elf(damaged);
  }
}

}  // namespace
}  // namespace extprocd::plugin
