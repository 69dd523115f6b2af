// Engine, chain, telemetry and admin under many threads at once, over an in-process transport: what
// ThreadSanitizer can judge, since grpc++ as Debian builds it is not instrumented.

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include "core/admin/admin_server.h"
#include "core/engine/process_service.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "test/support/loaded_generation.h"

namespace extprocd {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;

constexpr int kThreads = 8;
constexpr int kStreamsPerThread = 1000;

/// Counts what a stream sends; one thread.
class CountingSink final : public engine::Sink {
 public:
  void send(const wire::Pieces&) override { ++replies; }
  void finish(const absl::Status& status) override { ok = status.ok(); }
  int replies = 0;
  bool ok = false;
};

std::string headers_message(bool request) {
  ProcessingRequest message;
  auto* headers = request ? message.mutable_request_headers() : message.mutable_response_headers();
  auto* header = headers->mutable_headers()->add_headers();
  header->set_key("instructions");
  header->set_raw_value(R"({"addHeaders":{"a":"1"},"removeHeaders":["b"]})");
  return message.SerializeAsString();
}

/// GET /metrics.
std::string scrape(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  boost::asio::io_context io;
  boost::asio::ip::tcp::socket socket(io);
  boost::asio::connect(socket, boost::asio::ip::tcp::resolver(io).resolve(address.substr(0, colon),
                                                                          address.substr(colon + 1)));
  boost::asio::write(
      socket,
      boost::asio::buffer(std::string("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")));
  std::string answer;
  boost::system::error_code error;
  boost::asio::read(socket, boost::asio::dynamic_buffer(answer), error);
  return answer;
}

TEST(Threads, streams_of_many_threads_share_one_generation_while_metrics_are_scraped) {
  test::LoadedGeneration loaded(config::default_config());
  engine::ProcessService service(loaded.generation());
  const std::string request = headers_message(true);
  const std::string response = headers_message(false);
  std::atomic<int> ok{0};
  std::atomic<bool> done{false};

  auto admin = admin::AdminServer::start("127.0.0.1:0",
                                         {[&] { return loaded.registry().text(); }, [] { return true; }});
  ASSERT_TRUE(admin.ok()) << admin.status();
  std::thread scraper([&] {
    while (!done.load())
      EXPECT_NE(scrape((*admin)->address()).find("extproc_streams_active"), std::string::npos);
  });
  std::vector<std::thread> workers;
  for (int t = 0; t < kThreads; ++t) {
    workers.emplace_back([&, t] {
      for (int i = 0; i < kStreamsPerThread; ++i) {
        CountingSink sink;
        auto stream = service.open(sink, {.peer = "test"});
        stream->receive(engine::Message::copy(request));
        stream->receive(engine::Message::copy(response));
        if ((i + t) % 2 == 0) {
          stream->half_closed();
          ok += sink.ok ? 1 : 0;
        } else {
          stream->cancelled(engine::Cancel::kPeer);
          ok += 1;
        }
        EXPECT_EQ(sink.replies, 2);
      }
    });
  }
  for (auto& worker : workers) worker.join();
  done = true;
  scraper.join();
  EXPECT_EQ(ok, kThreads * kStreamsPerThread);
  EXPECT_EQ(loaded.metrics().streams_started.value(), kThreads * kStreamsPerThread);
  EXPECT_EQ(loaded.metrics().streams_active.value(), 0);
}

}  // namespace
}  // namespace extprocd
