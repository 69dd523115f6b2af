// Streams of the native transport that pause after each message, and go on by another thread or by their timer, while
// others are reset and the server in the end stops.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/engine/seam.h"
#include "core/transport/h2/server.h"
#include "core/transport/services.h"
#include "test/support/http2_client.h"

namespace extprocd {
namespace {

using test::data_frame;
using test::grpc_message;
using test::Http2Client;
using transport::Services;

constexpr int kClients = 4;
constexpr int kStreams = 60;
constexpr int kMessages = 20;

/// Threads that let streams go on.
class Workers {
 public:
  Workers() {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { run(); });
  }
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  void add(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return over_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const auto work = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      work();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

class WaitingStream final : public engine::ServerStream {
 public:
  WaitingStream(engine::Sink& sink, Workers& workers) : sink_(sink), workers_(workers) {}

  void receive(engine::Message message) override {
    EXPECT_FALSE(paused_);
    paused_ = true;
    last_ = message.bytes();
    sink_.pause_reading();
    if (++count_ % 2 == 0) return sink_.set_timer(sink_.now());
    sink_.set_timer(sink_.now() + std::chrono::hours(1));
    workers_.add([this, executor = sink_.executor()] {
      executor->post([this] {
        sink_.set_timer(std::nullopt);
        go_on();
      });
    });
  }
  void half_closed() override {
    EXPECT_FALSE(paused_);
    sink_.finish(absl::OkStatus());
  }
  void cancelled(engine::Cancel) override {}
  void timer_fired() override { go_on(); }

 private:
  void go_on() {
    sink_.send(last_);
    paused_ = false;
    sink_.resume_reading();
  }

  engine::Sink& sink_;
  Workers& workers_;
  std::string last_;
  int count_ = 0;
  bool paused_ = false;
};

class WaitingFactory final : public engine::StreamFactory {
 public:
  explicit WaitingFactory(Workers& workers) : workers_(workers) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<WaitingStream>(sink, workers_);
  }

 private:
  Workers& workers_;
};

/// Every fourth stream is reset, and every fifth left open.
void use_streams(const std::string& address, std::atomic<int>& answered) {
  Http2Client client(Http2Client::connect(address));
  client.greet();
  std::vector<std::string> expected;
  std::string messages;
  for (int i = 0; i < kMessages; ++i) {
    expected.push_back(std::to_string(i));
    messages += grpc_message(expected.back());
  }
  std::vector<int32_t> whole;
  for (int i = 0; i < kStreams; ++i) {
    const int32_t stream = client.open(test::grpc_call(Services::kProcess));
    const bool is_whole = i % 4 != 0 && i % 5 != 0;
    client.send(data_frame(stream, messages, is_whole));
    if (i % 4 == 0) client.send(test::reset_frame(stream, NGHTTP2_CANCEL));
    if (is_whole) whole.push_back(stream);
  }
  for (const int32_t stream : whole) {
    EXPECT_TRUE(client.wait_for_end(stream));
    EXPECT_EQ(client.reader.streams[stream].messages(), expected);
    EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "0");
    ++answered;
  }
  EXPECT_EQ(client.reader.wrong, "");
}

TEST(NativeTransport, streams_pause_and_go_on_by_other_threads_and_by_timers) {
  Workers workers;
  Services services;
  services.add(std::string(Services::kProcess), std::make_unique<WaitingFactory>(workers));
  auto server = transport::H2Server::start({.listen = {"127.0.0.1:0"}, .threads = 2}, services);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().at(0);
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back([&] { use_streams(address, answered); });
  for (auto& client : clients) client.join();
  server->reset();
  EXPECT_EQ(answered, kClients * kStreams * 3 / 5);
}

}  // namespace
}  // namespace extprocd
