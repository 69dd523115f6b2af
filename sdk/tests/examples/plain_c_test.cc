// A plugin without the C++ layer: each piece is changed by itself.

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;

TEST(PlainC, writes_each_piece_in_capitals) {
  for (const uint32_t phase : {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY}) {
    FakeHost host;
    Driver driver(*extproc_plugin_entry_v1(), host);
    extproc_call call;
    EXPECT_EQ(driver.body(call, phase, "Hello, z\xc3\xa9 "), EXTPROC_CONTINUE);
    EXPECT_EQ(call.sent_text(), "HELLO, Z\xc3\xa9 ");
    EXPECT_EQ(driver.body(call, phase, ""), EXTPROC_CONTINUE);
    EXPECT_EQ(driver.body(call, phase, "end", EXTPROC_END_OF_BODY), EXTPROC_CONTINUE);
    EXPECT_EQ(call.sent_text(), "HELLO, Z\xc3\xa9 END");
  }
}

TEST(PlainC, writes_pieces_larger_than_its_buffer) {
  for (const size_t size : {4095U, 4096U, 4097U, 100'000U}) {
    FakeHost host;
    Driver driver(*extproc_plugin_entry_v1(), host);
    extproc_call call;
    EXPECT_EQ(driver.body(call, EXTPROC_REQUEST_BODY, std::string(size, 'x')), EXTPROC_CONTINUE);
    EXPECT_EQ(call.sent_text(), std::string(size, 'X'));
  }
}

TEST(PlainC, fails_with_the_hosts_reason) {
  FakeHost host;
  Driver driver(*extproc_plugin_entry_v1(), host);
  extproc_call call;
  call.write_status = EXTPROC_LIMIT;
  EXPECT_EQ(driver.body(call, EXTPROC_REQUEST_BODY, "x"), EXTPROC_FAIL);
  EXPECT_EQ(call.failure_code, 13U);
  EXPECT_EQ(call.failure, "no more bytes");
}

TEST(PlainC, says_what_it_needs) {
  const extproc_plugin& module = *extproc_plugin_entry_v1();
  EXPECT_EQ(module.abi_minor, 1);
  EXPECT_STREQ(module.required_extensions[0], EXTPROC_BODY_1);
  EXPECT_STREQ(module.request_body_types[0], "text");
  EXPECT_EQ(module.request_body_types[1], nullptr);
}

}  // namespace
