// The example of the documentation, through its C entry.

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Map;
using extproc_test::Table;

TEST(TenantHeader, stamps_requests_and_refuses_those_that_bring_their_own) {
  const extproc_plugin& module = *extproc_plugin_entry_v1();
  EXPECT_STREQ(module.id, "example.tenant-header");
  EXPECT_EQ(module.phases, EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS));
  FakeHost host(Table{{"value", "acme"}});
  Driver driver(module, host);
  extproc_call call;
  call.maps[EXTPROC_REQUEST_HEADERS] = {};
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
  EXPECT_EQ(call.maps[EXTPROC_REQUEST_HEADERS], (Map{{"x-tenant", "acme"}}));
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_REPLY);
  EXPECT_EQ(call.replied, 400U);
  EXPECT_EQ(host.metrics["stamped_total"].value, 1);
}

TEST(TenantHeader, needs_a_value) {
  FakeHost host;
  EXPECT_NE(Driver(*extproc_plugin_entry_v1(), host).created, EXTPROC_OK);
  EXPECT_EQ(host.errors.size(), 1U);
}

}  // namespace
