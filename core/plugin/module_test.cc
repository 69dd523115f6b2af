#include "core/plugin/module.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/plugin/module_file.h"
#include "core/plugin/plugin.h"
#include "core/telemetry/log.h"

namespace extprocd::plugin {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// A private plugin folder with copies of the test's modules.
class ModuleTest : public testing::Test {
 protected:
  ModuleTest() : folder_(testing::TempDir() + "modules-" + std::to_string(getpid())) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    fs::permissions(folder_, fs::perms::owner_all);
  }
  ~ModuleTest() override { fs::remove_all(folder_); }

  void install(const std::string& source, const std::string& name) {
    fs::copy_file(TEST_MODULES "/" + source, folder_ + "/" + name, fs::copy_options::overwrite_existing);
    fs::permissions(folder_ + "/" + name, fs::perms::owner_all);
  }

  absl::StatusOr<std::shared_ptr<const Module>> load(
      const std::string& name, const std::optional<std::string>& sha256 = std::nullopt) {
    return registry_.load(folder_, name, sha256);
  }
  std::string error_of(const std::string& name, const std::optional<std::string>& sha256 = std::nullopt) {
    const auto module = load(name, sha256);
    EXPECT_FALSE(module.ok()) << name;
    return std::string(module.status().message());
  }

  const std::string folder_;
  ModuleRegistry registry_{*Staging::create(""), {EXTPROC_STORE_1}};
};

TEST_F(ModuleTest, a_good_module_is_loaded_once_per_content) {
  install("good.so", "a.so");
  install("good.so", "b.so");
  const auto first = load("a.so");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(std::string((*first)->descriptor->id), "test.module");
  EXPECT_EQ((*first)->sha256.size(), 64U);
  EXPECT_EQ(*load("a.so"), *first);
  EXPECT_EQ(*load("b.so"), *first);
  EXPECT_TRUE(load("a.so", (*first)->sha256).ok());
}

TEST_F(ModuleTest, new_content_under_the_same_name_is_new_code_beside_the_old) {
  install("good.so", "a.so");
  const auto before = load("a.so");
  install("newer_content.so", "a.so");
  const auto after = load("a.so");
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(std::string((*before)->descriptor->version), "1.0.0");
  EXPECT_EQ(std::string((*after)->descriptor->version), "2.0.0");
}

TEST_F(ModuleTest, each_broken_module_is_refused_with_its_fault_named) {
  for (const auto& [source, part] : std::initializer_list<std::pair<std::string, std::string>>{
           {"no_entry.so", "extproc_plugin_entry_v1"},
           {"null_entry.so", "null"},
           {"wrong_major.so", "version 2."},
           {"too_new.so", "test build"},
           {"small_size.so", "struct_size"},
           {"missing_extension.so", "extproc.teleport/3"},
           {"null_create.so", "create"},
           {"links_protobuf.so", "libprotobuf"}}) {
    install(source, "m.so");
    EXPECT_THAT(error_of("m.so"), AllOf(HasSubstr(folder_ + "/m.so"), HasSubstr(part)));
  }
}

TEST_F(ModuleTest, a_file_that_others_could_change_is_refused) {
  install("good.so", "a.so");
  chmod((folder_ + "/a.so").c_str(), 0775);
  EXPECT_THAT(error_of("a.so"), AllOf(HasSubstr("0775"), HasSubstr("chmod go-w")));
  chmod((folder_ + "/a.so").c_str(), 0755);
  EXPECT_TRUE(load("a.so").ok());
  chmod(folder_.c_str(), 0777);
  EXPECT_THAT(error_of("a.so"), HasSubstr("chmod go-w"));
}

TEST_F(ModuleTest, a_file_of_another_user_is_refused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  install("good.so", "a.so");
  ASSERT_EQ(chown((folder_ + "/a.so").c_str(), 12345, 0), 0);
  EXPECT_THAT(error_of("a.so"), AllOf(HasSubstr("owner 12345"), HasSubstr("chown")));
}

TEST_F(ModuleTest, only_regular_files_of_the_folder_itself_are_taken) {
  install("good.so", "a.so");
  fs::create_symlink(folder_ + "/a.so", folder_ + "/link.so");
  fs::create_directory(folder_ + "/folder.so");
  ASSERT_EQ(mkfifo((folder_ + "/fifo.so").c_str(), 0600), 0);
  EXPECT_THAT(error_of("link.so"), HasSubstr("symbolic link"));
  EXPECT_THAT(error_of("folder.so"), HasSubstr("no regular file"));
  EXPECT_THAT(error_of("fifo.so"), HasSubstr("no regular file"));
  EXPECT_THAT(error_of("../a.so"), HasSubstr("without a folder"));
  EXPECT_THAT(error_of(".."), HasSubstr("without a folder"));
  EXPECT_THAT(error_of(""), HasSubstr("without a folder"));
  EXPECT_THAT(error_of("none.so"), HasSubstr("No such file"));
  EXPECT_THAT(std::string(registry_.load("/nonexistent", "a.so", {}).status().message()),
              HasSubstr("plugins.directory"));
}

TEST_F(ModuleTest, a_pinned_hash_must_match) {
  install("good.so", "a.so");
  const std::string other(64, '0');
  EXPECT_THAT(error_of("a.so", other), AllOf(HasSubstr("found sha256"), HasSubstr("expected " + other)));
}

TEST_F(ModuleTest, what_is_no_module_is_refused) {
  std::ofstream(folder_ + "/text.so") << "hello";
  chmod((folder_ + "/text.so").c_str(), 0600);
  EXPECT_THAT(error_of("text.so"), HasSubstr("not ELF"));
  std::ofstream(folder_ + "/empty.so") << "";
  chmod((folder_ + "/empty.so").c_str(), 0600);
  EXPECT_THAT(error_of("empty.so"), HasSubstr("not ELF"));
}

TEST_F(ModuleTest, a_create_that_fails_or_throws_is_an_error) {
  install("failing_create.so", "f.so");
  install("throwing_in_create.so", "t.so");
  extproc_host host{};
  EXPECT_THAT(std::string(Plugin::create(*load("f.so"), &host).status().message()), HasSubstr("status 2"));
  EXPECT_THAT(std::string(Plugin::create(*load("t.so"), &host).status().message()),
              HasSubstr("thrown in create"));
  install("good.so", "g.so");
  EXPECT_TRUE(Plugin::create(*load("g.so"), &host).ok());
}

TEST_F(ModuleTest, a_destroy_that_throws_is_logged_and_harms_nobody) {
  install("throwing_in_destroy.so", "t.so");
  extproc_host host{};
  auto plugin = Plugin::create(*load("t.so"), &host);
  ASSERT_TRUE(plugin.ok());
  telemetry::init_log("error", "text");
  testing::internal::CaptureStderr();
  plugin->reset();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("test.throwing"), HasSubstr("thrown in destroy")));
}

}  // namespace
}  // namespace extprocd::plugin
