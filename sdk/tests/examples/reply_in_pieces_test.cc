// The reply begins with the request's headers and grows with its body.

#include "sdk/tests/fake_host.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Map;
using extproc_test::Table;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(ReplyInPieces, gives_the_body_back_as_it_comes) {
  FakeHost host(Table{{"greeting", "> "}});
  Driver driver(*extproc_plugin_entry_v1(), host);
  extproc_call call;
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_REPLY);
  EXPECT_EQ(call.replied, 200U);
  EXPECT_EQ(call.reply_text, "> ||-1|content-type=text/plain");
  EXPECT_EQ(driver.body(call, EXTPROC_REQUEST_BODY, "one"), EXTPROC_CONTINUE);
  EXPECT_THAT(call.reply_pieces, ElementsAre("one"));
  EXPECT_FALSE(call.reply_ended);
  EXPECT_EQ(driver.body(call, EXTPROC_REQUEST_BODY, "three", EXTPROC_END_OF_BODY), EXTPROC_CONTINUE);
  EXPECT_THAT(call.reply_pieces, ElementsAre("one", "three"));
  EXPECT_TRUE(call.reply_ended);
  EXPECT_EQ(call.reply_trailers, (Map{{"x-bytes", "8"}}));
}

TEST(ReplyInPieces, ends_without_trailers_where_it_is_sent_as_one) {
  FakeHost host;
  Driver driver(*extproc_plugin_entry_v1(), host);
  extproc_call call;
  call.takes_pieces = false;
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_REPLY);
  EXPECT_EQ(driver.body(call, EXTPROC_REQUEST_BODY, "x", EXTPROC_END_OF_STREAM), EXTPROC_CONTINUE);
  EXPECT_TRUE(call.reply_ended);
  EXPECT_THAT(call.reply_trailers, IsEmpty());
}

}  // namespace
