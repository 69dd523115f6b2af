// A line a request, on the disk when the callback returns.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Table;

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(AuditLog, writes_a_line_for_each_request) {
  const std::string path = testing::TempDir() + "audit_log_test." + std::to_string(::getpid());
  EXPECT_EQ(extproc_plugin_entry_v1()->may_block, 1U);
  for (const char* method : {"GET", "POST"}) {
    FakeHost host(Table{{"file", path.c_str()}});
    Driver driver(*extproc_plugin_entry_v1(), host);
    extproc_call call;
    call.maps[EXTPROC_REQUEST_HEADERS] = {{":method", method}, {":path", "/a?b"}};
    EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
  }
  EXPECT_EQ(read(path), "GET /a?b\nPOST /a?b\n");
  std::remove(path.c_str());
}

TEST(AuditLog, fails_when_it_cannot_write) {
  FakeHost host(Table{{"file", "/dev/full"}});
  Driver driver(*extproc_plugin_entry_v1(), host);
  extproc_call call;
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_FAIL);
  EXPECT_EQ(call.failure_code, 14U);
  EXPECT_EQ(call.failure, "audit log: No space left on device");
}

TEST(AuditLog, needs_a_file_that_can_be_opened) {
  FakeHost host(Table{{"file", "/nowhere/audit.log"}});
  EXPECT_NE(Driver(*extproc_plugin_entry_v1(), host).created, EXTPROC_OK);
  EXPECT_THAT(host.errors, testing::ElementsAre(
                               "option 'file': it cannot be opened: No such file or directory at string"));
}

}  // namespace
