#include "core/transport/h2/server.h"

#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/telemetry/log.h"
#include "test/support/http2_client.h"

namespace extprocd::transport {
namespace {

using test::data_frame;
using test::grpc_call;
using test::grpc_message;
using test::Http2Client;

/// Which threads have how many streams.
class Threads {
 public:
  void add(int change) {
    const std::lock_guard lock(mutex_);
    counts_[std::this_thread::get_id()] += change;
    changed_.notify_all();
  }
  std::map<std::thread::id, int> counts() {
    const std::lock_guard lock(mutex_);
    return counts_;
  }
  bool wait_for(int all) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      int sum = 0;
      for (const auto& [thread, count] : counts_) sum += count;
      return sum == all;
    });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::thread::id, int> counts_;
};

/// Answers a message with the name of the thread.
class ThreadStream final : public engine::ServerStream {
 public:
  ThreadStream(engine::Sink& sink, Threads& threads) : sink_(sink), threads_(threads) { threads_.add(1); }
  ~ThreadStream() override { threads_.add(-1); }
  void receive(engine::Message) override {
    std::ostringstream name;
    name << std::this_thread::get_id();
    sink_.send(name.str());
  }
  void half_closed() override { sink_.finish(absl::OkStatus()); }
  void cancelled(engine::Cancel) override {}

 private:
  engine::Sink& sink_;
  Threads& threads_;
};

class ThreadFactory final : public engine::StreamFactory {
 public:
  explicit ThreadFactory(Threads& threads) : threads_(threads) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<ThreadStream>(sink, threads_);
  }

 private:
  Threads& threads_;
};

/// A connection with one stream that stays open.
struct Held {
  explicit Held(const std::string& address) : client(Http2Client::connect(address)) {
    client.greet();
    stream = client.open(grpc_call(Services::kProcess));
    client.send(data_frame(stream, grpc_message("?")));
    EXPECT_TRUE(client.wait([&] { return !client.reader.streams[stream].messages().empty(); }));
    thread = client.reader.streams[stream].messages().at(0);
  }
  /// Waits until the thread that serves it has done what it was doing.
  void settle() { EXPECT_TRUE(client.settle()); }

  Http2Client client;
  int32_t stream = 0;
  std::string thread;
};

TEST(H2Server, gives_a_connection_to_the_loop_that_has_least) {
  telemetry::init_log("off", "text");
  Threads threads;
  Services services;
  services.add(std::string(Services::kProcess), std::make_unique<ThreadFactory>(threads));
  auto server = H2Server::start({.listen = {"127.0.0.1:0"}, .threads = 4}, services);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().at(0);

  std::map<std::string, std::vector<std::unique_ptr<Held>>> by_thread;
  const auto connect = [&] {
    auto one = std::make_unique<Held>(address);
    const std::string thread = one->thread;
    by_thread[thread].push_back(std::move(one));
    return thread;
  };
  for (int i = 0; i < 16; ++i) connect();
  ASSERT_EQ(by_thread.size(), 4U);
  for (const auto& [thread, held] : by_thread) EXPECT_EQ(held.size(), 4U);
  // Two connections of one thread go; whoever comes next gets its place.
  auto& [emptier, held] = *by_thread.begin();
  held.pop_back();
  held.pop_back();
  ASSERT_TRUE(threads.wait_for(14));
  held.back()->settle();
  EXPECT_EQ(connect(), emptier);
  EXPECT_EQ(connect(), emptier);
  std::map<std::string, int> more;
  for (int i = 0; i < 4; ++i) ++more[connect()];
  EXPECT_EQ(more.size(), 4U) << "one for each, now that all have as many";
}

TEST(H2Server, closes_connections_beyond_its_limit_at_once) {
  telemetry::init_log("off", "text");
  Threads threads;
  Services services;
  services.add(std::string(Services::kProcess), std::make_unique<ThreadFactory>(threads));
  auto server = H2Server::start({.listen = {"127.0.0.1:0"}, .threads = 1, .max_connections = 2}, services);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().at(0);
  auto first = std::make_unique<Held>(address);
  Held second(address);
  Http2Client third(Http2Client::connect(address));
  EXPECT_TRUE(third.wait_for_close());
  second.settle();
  first.reset();
  ASSERT_TRUE(threads.wait_for(1));
  second.settle();
  Held fourth(address);
}

}  // namespace
}  // namespace extprocd::transport
