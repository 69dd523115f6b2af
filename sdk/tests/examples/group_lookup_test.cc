// Both writings of the example, each in a program of its own, with a directory that answers when the test says so.

#include <optional>
#include <string>

#include "sdk/tests/fake_host.h"
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Map;
using extproc_test::Table;

/// The other end: takes questions, and answers what it is told.
class Server {
 public:
  Server() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
    socklen_t size = sizeof address_;
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
    const timeval patience{10, 0};
    EXPECT_EQ(::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { ::close(socket_); }

  int port() const { return ntohs(address_.sin_port); }

  std::string question() {
    char buffer[512];
    socklen_t size = sizeof from_;
    const ssize_t bytes =
        ::recvfrom(socket_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from_), &size);
    return bytes < 0 ? "none within ten seconds" : std::string(buffer, static_cast<size_t>(bytes));
  }
  void answer(const std::string& text) {
    const auto* to = reinterpret_cast<const sockaddr*>(&from_);
    EXPECT_EQ(::sendto(socket_, text.data(), text.size(), 0, to, sizeof from_),
              static_cast<ssize_t>(text.size()));
  }

 private:
  int socket_;
  sockaddr_in address_{};
  sockaddr_in from_{};
};

class GroupLookup : public testing::Test {
 protected:
  static Table table(int port) { return Table{{"port", port}}; }
  static extproc_call request(const char* user) {
    extproc_call call;
    call.maps[EXTPROC_REQUEST_HEADERS] = {{"x-user", user}};
    return call;
  }

  Server server_;
  FakeHost host_{table(server_.port())};
  Driver driver_{*extproc_plugin_entry_v1(), host_};
};

TEST_F(GroupLookup, waits_for_the_directory_and_tells_the_group) {
  extproc_call call = request("alice");
  ASSERT_EQ(driver_.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_SUSPEND);
  EXPECT_EQ(server_.question(), "1 alice");
  server_.answer("1 admins");
  EXPECT_EQ(driver_.go_on(call), EXTPROC_CONTINUE);
  EXPECT_EQ(call.maps[EXTPROC_REQUEST_HEADERS], (Map{{"x-user", "alice"}, {"x-group", "admins"}}));
}

TEST_F(GroupLookup, refuses_whom_the_directory_does_not_know) {
  extproc_call call = request("mallory");
  ASSERT_EQ(driver_.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_SUSPEND);
  server_.question();
  server_.answer("what?");
  server_.answer("2 not asked");
  server_.answer("1 ");
  EXPECT_EQ(driver_.go_on(call), EXTPROC_REPLY);
  EXPECT_EQ(call.replied, 403U);
}

TEST_F(GroupLookup, takes_an_answer_that_comes_when_nobody_waits_any_more) {
  extproc_call call = request("alice");
  ASSERT_EQ(driver_.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_SUSPEND);
  server_.question();
  driver_.cancel(call, EXTPROC_CANCEL_TIMEOUT);
  server_.answer("1 admins");
  server_.answer("1 admins");

  extproc_call next = request("bob");
  ASSERT_EQ(driver_.run(next, EXTPROC_REQUEST_HEADERS), EXTPROC_SUSPEND);
  EXPECT_EQ(server_.question(), "2 bob");
  server_.answer("2 staff");
  EXPECT_EQ(driver_.go_on(next), EXTPROC_CONTINUE);
  EXPECT_EQ(next.maps[EXTPROC_REQUEST_HEADERS], (Map{{"x-user", "bob"}, {"x-group", "staff"}}));
  EXPECT_EQ(host_.async.ignored(), 1);
}

TEST_F(GroupLookup, needs_no_newer_server_to_be_loaded) {
  EXPECT_EQ(extproc_plugin_entry_v1()->abi_minor, 0);
  EXPECT_EQ(extproc_plugin_entry_v1()->may_block, 0U);
}

TEST(GroupLookupConfig, an_address_that_is_none_is_told) {
  FakeHost host(Table{{"address", "nowhere"}});
  EXPECT_NE(Driver(*extproc_plugin_entry_v1(), host).created, EXTPROC_OK);
  EXPECT_THAT(host.errors, testing::ElementsAre("no way to the directory at nowhere"));
}

}  // namespace
