// The native transport with the engine behind it, under many connections of many threads, while health changes, metrics
// are scraped, and in the end while it drains: all of it is code that ThreadSanitizer sees.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "core/telemetry/metrics.h"
#include "core/transport/h2/server.h"
#include "core/transport/health.h"
#include "core/transport/reflection.h"
#include "test/support/http2_client.h"
#include "test/support/loaded_generation.h"

namespace extprocd {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using test::data_frame;
using test::grpc_call;
using test::grpc_message;
using test::Http2Client;
using transport::Services;

constexpr int kClients = 6;
constexpr int kConnections = 12;  // of each client, one after the other
constexpr int kStreams = 40;      // of each connection
constexpr int kBeforeDrain = kClients * kConnections * kStreams / 2;

std::string headers_message() {
  ProcessingRequest message;
  auto* header = message.mutable_request_headers()->mutable_headers()->add_headers();
  header->set_key("instructions");
  header->set_raw_value(R"({"addHeaders":{"a":"1"},"removeHeaders":["b"]})");
  return grpc_message(message.SerializeAsString());
}

/// What the clients did, all together.
struct Done {
  std::atomic<int> streams{0};
  std::atomic<int> answered{0};
  std::atomic<int> ended{0};
  std::atomic<bool> drains{false};
};

/// One connection with its streams. False: the server takes no more.
bool use_a_connection(const std::string& address, const std::string& headers, Done& done) {
  std::unique_ptr<Http2Client> client;
  try {
    client = std::make_unique<Http2Client>(Http2Client::connect(address));
  } catch (const std::runtime_error&) {
    EXPECT_TRUE(done.drains) << "nobody listens";
    return false;
  }
  client->greet();
  const int32_t watch = client->open(grpc_call("/grpc.health.v1.Health/Watch"));
  client->send(data_frame(watch, grpc_message({}), true));
  std::vector<int32_t> streams;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(client->open(grpc_call(Services::kProcess)));
    ++done.streams;
    client->send(data_frame(streams.back(), headers));
    if (i % 4 == 3) client->send(test::reset_frame(streams.back(), NGHTTP2_CANCEL));
  }
  for (int i = 0; i < kStreams; ++i) {
    if (i % 4 == 3) continue;
    const auto& stream = client->reader.streams[streams[static_cast<std::size_t>(i)]];
    if (!client->wait([&] { return !stream.messages().empty() || stream.is_over(); })) break;
    done.answered += stream.messages().empty() ? 0 : 1;
    if (i % 4 == 0) client->send(data_frame(streams[static_cast<std::size_t>(i)], {}, true));
  }
  for (int i = 0; i < kStreams; i += 4) {
    const int32_t stream = streams[static_cast<std::size_t>(i)];
    if (!client->wait_for_end(stream)) break;
    done.ended += client->reader.streams[stream].trailer("grpc-status") == "0" ? 1 : 0;
  }
  EXPECT_EQ(client->reader.wrong, "");
  EXPECT_TRUE(done.drains || !client->closed());
  return !client->closed();  // the other streams are lost with the connection
}

TEST(NativeTransport, serves_many_connections_of_many_threads_and_drains_under_load) {
  test::LoadedGeneration loaded(config::default_config());
  ASSERT_NE(loaded.generation(), nullptr);
  transport::HealthState health;
  health.set_serving(true);
  Services services;
  services.add(std::string(Services::kProcess),
               std::make_unique<engine::ProcessService>(loaded.generation()));
  add_health_service(services, health);
  transport::add_reflection_service(services);
  auto server = transport::H2Server::start(
      {.listen = {"127.0.0.1:0"}, .threads = 4, .metrics = &loaded.metrics()}, services);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().at(0);
  const std::string headers = headers_message();

  Done done;
  std::atomic<bool> over{false};
  std::thread changer([&] {
    for (bool serving = false; !over; serving = !serving) {
      health.set_serving(serving);
      std::this_thread::yield();
    }
  });
  std::thread scraper([&] {
    while (!over) EXPECT_NE(loaded.registry().text().find("extproc_streams_active"), std::string::npos);
  });
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      for (int n = 0; n < kConnections && use_a_connection(address, headers, done); ++n) {
      }
    });
  }
  while (done.streams < kBeforeDrain) std::this_thread::yield();
  done.drains = true;
  const auto drained = (*server)->drain(std::chrono::seconds(1));
  for (auto& client : clients) client.join();
  over = true;
  changer.join();
  scraper.join();
  server->reset();
  EXPECT_GE(done.streams, kBeforeDrain);
  EXPECT_GT(done.answered, kBeforeDrain / 4);
  EXPECT_GT(done.ended, kBeforeDrain / 16);
  EXPECT_EQ(loaded.metrics().streams_active.value(), 0);
  uint64_t ended = 0;
  for (const auto* reason : loaded.metrics().streams_ended) ended += reason->value();
  EXPECT_EQ(ended, loaded.metrics().streams_started.value());
  EXPECT_LE(drained.cancelled, static_cast<std::size_t>(done.streams));
}

}  // namespace
}  // namespace extprocd
