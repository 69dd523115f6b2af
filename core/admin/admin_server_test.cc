#include "core/admin/admin_server.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::admin {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() {
    auto server = AdminServer::start(
        "127.0.0.1:0", {[] { return std::string("metric 1\n"); }, [this] { return ready_.load(); }});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }

  asio::ip::tcp::socket connect() {
    const std::string& address = server_->address();
    const std::size_t colon = address.rfind(':');
    asio::ip::tcp::socket socket(io_);
    asio::connect(socket,
                  asio::ip::tcp::resolver(io_).resolve(address.substr(0, colon), address.substr(colon + 1)));
    return socket;
  }

  /// Sends bytes and reads until the server closes.
  std::string exchange(const std::string& bytes) {
    auto socket = connect();
    boost::system::error_code error;
    asio::write(socket, asio::buffer(bytes), error);
    std::string answer;
    asio::read(socket, asio::dynamic_buffer(answer), error);
    return answer;
  }
  std::string get(const std::string& path, const std::string& method = "GET") {
    return exchange(method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }

  asio::io_context io_;
  std::atomic<bool> ready_{true};
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, metrics_are_shown_in_prometheus_format) {
  EXPECT_THAT(get("/metrics"), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("version=0.0.4"),
                                              HasSubstr("\r\n\r\nmetric 1\n")));
  EXPECT_THAT(get("/metrics?x=1"), HasSubstr("metric 1"));
  EXPECT_THAT(get("/metrics", "HEAD"),
              testing::AllOf(HasSubstr("Content-Length: 9"), Not(HasSubstr("metric 1"))));
}

TEST_F(AdminServerTest, health_is_always_ok_and_readiness_follows_the_server) {
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 200"));
  ready_ = false;
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, other_paths_and_methods_are_refused_with_a_hint) {
  EXPECT_THAT(get("/nothing"), testing::AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("/metrics")));
  EXPECT_THAT(get("/metrics", "POST"),
              testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET, HEAD")));
  EXPECT_THAT(get("/"), HasSubstr("/readyz"));
}

TEST_F(AdminServerTest, a_connection_serves_several_requests_also_pipelined) {
  const std::string one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answer =
      exchange(one + one + "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::size_t found = 0;
  for (std::size_t at = 0; (at = answer.find("HTTP/1.1 200", at)) != std::string::npos; ++at) ++found;
  EXPECT_EQ(found, 3U);
}

TEST_F(AdminServerTest, garbage_half_requests_and_huge_headers_harm_nobody) {
  EXPECT_EQ(exchange("\x16\x03\x01garbage\r\n\r\n"), "");
  EXPECT_EQ(exchange("GET /metrics HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n"), "");
  EXPECT_EQ(exchange("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), "");
  auto half = connect();
  asio::write(half, asio::buffer(std::string("GET /met")));
  half.close();
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, connections_over_the_limit_are_closed_and_the_rest_served) {
  std::vector<asio::ip::tcp::socket> idle;
  for (int i = 0; i < 100; ++i) {
    idle.push_back(connect());
    // An answer proves that the server has taken the connection.
    asio::write(idle.back(), asio::buffer(std::string("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")));
    asio::streambuf buffer;
    asio::read_until(idle.back(), buffer, "ok\n");
  }
  EXPECT_EQ(get("/healthz"), "");
  idle.pop_back();
  // The server sees the end of the closed one in its own time.
  std::string answer;
  for (int i = 0; i < 10000 && answer.empty(); ++i) answer = get("/healthz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, it_stops_while_connections_are_open) {
  auto open = connect();
  asio::write(open, asio::buffer(std::string("GET /healthz")));
  server_.reset();
  std::string rest;
  boost::system::error_code error;
  asio::read(open, asio::dynamic_buffer(rest), error);
  EXPECT_TRUE(error);
}

TEST_F(AdminServerTest, many_clients_at_once) {
  std::vector<std::thread> clients;
  std::atomic<int> ok{0};
  for (int t = 0; t < 8; ++t) {
    clients.emplace_back([&] {
      for (int i = 0; i < 50; ++i) ok += get("/metrics").starts_with("HTTP/1.1 200") ? 1 : 0;
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(ok, 400);
}

TEST_F(AdminServerTest, a_busy_port_is_named_with_the_cause) {
  const auto second = AdminServer::start(server_->address(), {});
  EXPECT_THAT(std::string(second.status().message()),
              testing::AllOf(HasSubstr(server_->address()), HasSubstr("in use")));
  EXPECT_FALSE(AdminServer::start("nonsense", {}).ok());
}

}  // namespace
}  // namespace extprocd::admin
