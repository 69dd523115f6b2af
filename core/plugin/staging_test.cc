#include "core/plugin/staging.h"

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace extprocd::plugin {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

TEST(StagingTest, copies_have_names_of_their_own_and_go_with_it) {
  std::string first;
  std::string second;
  {
    auto staging = Staging::create("");
    ASSERT_TRUE(staging.ok());
    first = *staging->add("a", "one");
    second = *staging->add("a", "two");
    EXPECT_NE(first, second);
    EXPECT_EQ(content_of(first), "one");
    EXPECT_EQ(content_of(second), "two");
  }
  EXPECT_NE(access(first.c_str(), F_OK), 0);
  EXPECT_NE(access(second.c_str(), F_OK), 0);
}

TEST(StagingTest, the_configured_folder_is_made_if_needed_and_kept) {
  const std::string folder = testing::TempDir() + "staging_test";
  {
    auto staging = Staging::create(folder);
    ASSERT_TRUE(staging.ok()) << staging.status();
    EXPECT_THAT(*staging->add("a", "one"), testing::StartsWith(folder + "/"));
  }
  EXPECT_EQ(rmdir(folder.c_str()), 0);
}

TEST(StagingTest, a_folder_that_cannot_be_used_is_an_error_that_names_it) {
  EXPECT_THAT(std::string(Staging::create("relative").status().message()), testing::HasSubstr("absolute"));
  EXPECT_THAT(std::string(Staging::create("/proc/none").status().message()),
              testing::HasSubstr("/proc/none"));
}

/// Runs `check` in a process of its own, in which `folder` is a file system mounted noexec; its exit code.
/// Nothing where this user may not mount at all.
template <typename Check>
std::optional<int> with_noexec(const std::string& folder, Check check) {
  constexpr int kMayNotMount = 99;
  const pid_t child = fork();
  if (child == 0) {
    const bool own = unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    const bool mounted = own && mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("tmpfs", folder.c_str(), "tmpfs", MS_NOEXEC, nullptr) == 0;
    _exit(mounted ? check() : kMayNotMount);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kMayNotMount) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StagingTest, copies_are_kept_in_memory_where_the_services_folder_is_noexec) {
  const std::string folder = testing::TempDir() + "staging_test_noexec";
  mkdir(folder.c_str(), 0700);
  const auto code = with_noexec(folder, [&] {
    setenv("RUNTIME_DIRECTORY", folder.c_str(), 1);
    auto staging = Staging::create("");
    return staging.ok() && staging->add("a", "one")->starts_with("/proc/self/fd/") ? 0 : 1;
  });
  rmdir(folder.c_str());
  if (!code) GTEST_SKIP() << "this user may not mount anything";
  EXPECT_EQ(*code, 0);
}

TEST(StagingTest, copies_are_kept_in_memory_where_tmp_is_noexec) {
  const auto code = with_noexec("/tmp", [] {
    unsetenv("RUNTIME_DIRECTORY");
    auto staging = Staging::create("");
    return staging.ok() && staging->add("a", "one")->starts_with("/proc/self/fd/") ? 0 : 1;
  });
  if (!code) GTEST_SKIP() << "this user may not mount anything";
  EXPECT_EQ(*code, 0);
}

TEST(StagingTest, a_configured_folder_that_is_noexec_is_an_error_that_names_it) {
  const std::string folder = testing::TempDir() + "staging_test_noexec";
  mkdir(folder.c_str(), 0700);
  const auto code = with_noexec(folder, [&] {
    const std::string text(Staging::create(folder).status().message());
    return text.find(folder + " is mounted noexec") != std::string::npos ? 0 : 1;
  });
  rmdir(folder.c_str());
  if (!code) GTEST_SKIP() << "this user may not mount anything";
  EXPECT_EQ(*code, 0);
}

}  // namespace
}  // namespace extprocd::plugin
