// Plugins that wait, under many threads: streams of several threads, resumed by others, by timers, or given up, cancelled
// while they wait, in process and through the native transport.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "core/transport/h2/server.h"
#include "core/transport/services.h"
#include "test/support/http2_client.h"
#include "test/threads/suspending_plugin.h"

namespace extprocd {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using test::data_frame;
using test::grpc_message;
using test::Http2Client;
using transport::Services;

std::string headers_message(bool request) {
  ProcessingRequest message;
  auto* headers = request ? message.mutable_request_headers() : message.mutable_response_headers();
  headers->mutable_headers()->add_headers()->set_key("a");
  headers->set_end_of_stream(true);
  return message.SerializeAsString();
}

/// A thread that serves streams: what is posted to it, their timers, their messages.
class Loop {
 public:
  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      posted_.push_back(std::move(work));
    }
    changed_.notify_one();
  }
  void run_posted(engine::Clock::time_point until) {
    std::deque<std::function<void()>> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, until, [this] { return !posted_.empty(); });
      work.swap(posted_);
    }
    for (auto& one : work) one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> posted_;
};

/// A stream as its thread has it.
class LoopStream final : public engine::Sink {
 public:
  LoopStream(engine::ProcessService& service, std::shared_ptr<Loop> loop, bool cancelled)
      : executor_(std::make_shared<StreamExecutor>(std::move(loop))),
        cancelled_(cancelled),
        stream_(service.open(*this, {.peer = "test"})) {}

  void send(const wire::Pieces&) override { ++replies; }
  void finish(const absl::Status& status) override {
    executor_->alive = false;
    ok = status.ok();
  }
  std::shared_ptr<engine::Executor> executor() override { return executor_; }
  void pause_reading() override { paused_ = true; }
  void resume_reading() override { paused_ = false; }
  void set_timer(std::optional<engine::Clock::time_point> time) override { timer_ = time; }

  [[nodiscard]] bool over() const { return !executor_->alive; }
  [[nodiscard]] std::optional<engine::Clock::time_point> timer() const { return timer_; }
  /// What can be done now is.
  void go_on(const std::array<std::string, 2>& messages, engine::Clock::time_point now) {
    if (timer_ && *timer_ <= now) {
      timer_.reset();
      stream_->timer_fired();
    }
    while (!paused_ && !over() && next_ < messages.size())
      stream_->receive(engine::Message::copy(messages.at(next_++)));
    if (cancelled_ && !over() && paused_) {
      stream_->cancelled(engine::Cancel::kPeer);
      executor_->alive = false;
    }
    if (!paused_ && !over()) stream_->half_closed();
  }

  int replies = 0;
  bool ok = false;

 private:
  struct StreamExecutor final : engine::Executor, std::enable_shared_from_this<StreamExecutor> {
    explicit StreamExecutor(std::shared_ptr<Loop> of) : loop(std::move(of)) {}
    void post(std::function<void()> work) override {
      loop->post([self = shared_from_this(), work = std::move(work)] {
        if (self->alive) work();
      });
    }
    const std::shared_ptr<Loop> loop;
    bool alive = true;  // the loop's thread alone looks at it
  };

  const std::shared_ptr<StreamExecutor> executor_;
  const bool cancelled_;
  std::optional<engine::Clock::time_point> timer_;
  std::size_t next_ = 0;
  bool paused_ = false;
  std::unique_ptr<engine::ServerStream> stream_;
};

constexpr int kLoops = 4;
constexpr int kStreamsOfLoop = 1000;
constexpr std::size_t kAtOnce = 16;

/// Serves streams, many at once; every fifth is cancelled while it waits.
void serve(engine::ProcessService& service, const std::array<std::string, 2>& messages,
           std::atomic<int>& whole) {
  const auto loop = std::make_shared<Loop>();
  std::deque<std::unique_ptr<LoopStream>> streams;
  int opened = 0;
  while (opened < kStreamsOfLoop || !streams.empty()) {
    while (opened < kStreamsOfLoop && streams.size() < kAtOnce) {
      streams.push_back(std::make_unique<LoopStream>(service, loop, opened % 5 == 0));
      ++opened;
    }
    auto next = engine::Clock::now() + std::chrono::milliseconds(1);
    for (auto& stream : streams) {
      stream->go_on(messages, engine::Clock::now());
      if (stream->timer() && !stream->over()) next = std::min(next, *stream->timer());
      if (stream->ok) {
        EXPECT_EQ(stream->replies, 2);
        ++whole;
      }
    }
    std::erase_if(streams, [](const auto& stream) { return stream->over(); });
    loop->run_posted(next);
  }
}

TEST(Suspensions, of_many_streams_end_by_threads_timers_timeouts_and_cancellation) {
  test::SuspendingGeneration suspending;
  engine::ProcessService service(suspending.generation());
  const std::array messages = {headers_message(true), headers_message(false)};
  std::atomic<int> whole{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kLoops; ++i) threads.emplace_back([&] { serve(service, messages, whole); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(whole, kLoops * kStreamsOfLoop * 4 / 5);
  EXPECT_GT(suspending.plugin().resumed, whole / 2);
  EXPECT_GT(suspending.plugin().cancelled, kLoops * kStreamsOfLoop / 5 - 1);
  suspending.expect_nothing_is_left();
}

constexpr int kClients = 4;
constexpr int kConnections = 4;  // of each client, one after the other
constexpr int kStreamsOfConnection = 60;

/// Both messages at once: the second waits behind the first. Every fourth stream is reset, every tenth never ended.
void use_a_connection(const std::string& address, const std::string& messages, std::atomic<int>& whole) {
  Http2Client client(Http2Client::connect(address));
  client.greet();
  std::vector<int32_t> to_end;
  for (int i = 0; i < kStreamsOfConnection; ++i) {
    const int32_t stream = client.open(test::grpc_call(Services::kProcess));
    const bool is_reset = i % 4 == 0;
    const bool is_left = i % 10 == 1;
    client.send(data_frame(stream, messages, !is_reset && !is_left));
    if (is_reset) client.send(test::reset_frame(stream, NGHTTP2_CANCEL));
    if (!is_reset && !is_left) to_end.push_back(stream);
  }
  for (const int32_t stream : to_end) {
    ASSERT_TRUE(client.wait_for_end(stream));
    EXPECT_EQ(client.reader.streams[stream].messages().size(), 2U);
    EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "0");
    ++whole;
  }
  EXPECT_EQ(client.reader.wrong, "");
}

TEST(Suspensions, of_the_native_transports_streams_end_as_well) {
  test::SuspendingGeneration suspending;
  Services services;
  services.add(std::string(Services::kProcess),
               std::make_unique<engine::ProcessService>(suspending.generation()));
  auto server = transport::H2Server::start(
      {.listen = {"127.0.0.1:0"}, .threads = 3, .metrics = &suspending.metrics()}, services);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().at(0);
  const std::string messages = grpc_message(headers_message(true)) + grpc_message(headers_message(false));
  std::atomic<int> whole{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      for (int n = 0; n < kConnections; ++n) use_a_connection(address, messages, whole);
    });
  }
  for (auto& client : clients) client.join();
  server->reset();
  constexpr int kWhole = kStreamsOfConnection * 3 / 4 - kStreamsOfConnection / 10;
  EXPECT_EQ(whole, kClients * kConnections * kWhole);
  suspending.expect_nothing_is_left();
}

}  // namespace
}  // namespace extprocd
