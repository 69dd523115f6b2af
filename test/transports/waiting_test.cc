// Streams that pause their reading and set timers, over each transport, with a client that speaks HTTP/2 frame by frame.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/transport.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/services.h"
#include "test/support/http2_client.h"

namespace extprocd::transport {
namespace {

using test::data_frame;
using test::grpc_call;
using test::grpc_message;
using test::Http2Client;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;
using namespace std::chrono_literals;

constexpr auto kVeryLong = 60s;

/// What happened to the streams of a server, in order, and what they are to do. The functions are set before there are
/// any; they run on the streams' threads.
class Script {
 public:
  class Stream;

  std::function<void(Stream&, const std::string&)> on_message;
  std::function<void(Stream&)> on_timer;

  void add(const std::string& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  std::vector<std::string> events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  bool wait_for(const std::string& event, std::ptrdiff_t count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kVeryLong, [&] { return std::ranges::count(events_, event) >= count; });
  }
  /// The stream that was opened last. Only what is posted to it may touch it.
  void opened(Stream& stream, std::shared_ptr<engine::Executor> executor) {
    const std::lock_guard lock(mutex_);
    stream_ = &stream;
    executor_ = std::move(executor);
  }
  /// Runs on the stream's thread, if it is not over; any thread.
  void post(std::function<void(Stream&)> work) {
    const std::lock_guard lock(mutex_);
    executor_->post([stream = stream_, work = std::move(work)] { work(*stream); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
  Stream* stream_ = nullptr;
  std::shared_ptr<engine::Executor> executor_;
};

class Script::Stream final : public engine::ServerStream {
 public:
  Stream(engine::Sink& to, Script& script) : sink(to), script_(script) {
    script_.opened(*this, sink.executor());
  }
  ~Stream() override { script_.add("destroyed"); }

  void receive(engine::Message message) override {
    const Inside inside(*this);
    const std::string text(message.bytes());
    script_.add(text);
    script_.on_message(*this, text);
  }
  void half_closed() override {
    const Inside inside(*this);
    script_.add("half-closed");
    sink.finish(absl::OkStatus());
  }
  void cancelled(engine::Cancel by) override {
    script_.add(by == engine::Cancel::kShutdown ? "shut down" : "cancelled");
  }
  void timer_fired() override {
    script_.add("timer");
    script_.on_timer(*this);
  }

  void pause() {
    paused_ = true;
    sink.pause_reading();
  }
  void resume() {
    paused_ = false;
    sink.resume_reading();
  }
  void set_timer(std::optional<std::chrono::nanoseconds> from_now) const {
    sink.set_timer(from_now ? std::optional(sink.now() + *from_now) : std::nullopt);
  }

  engine::Sink& sink;

 private:
  /// While the stream is told something.
  struct Inside {
    explicit Inside(Stream& one) : stream(one) {
      if (stream.paused_) stream.script_.add("told while paused");
      if (std::exchange(stream.inside_, true)) stream.script_.add("told from within");
    }
    ~Inside() { stream.inside_ = false; }
    Stream& stream;
  };

  Script& script_;
  bool paused_ = false;
  bool inside_ = false;
};

class Factory final : public engine::StreamFactory {
 public:
  explicit Factory(Script& script) : script_(script) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<Script::Stream>(sink, script_);
  }

 private:
  Script& script_;
};

class WaitingTest : public testing::TestWithParam<config::Transport> {
 protected:
  WaitingTest() {
    script_.on_message = [](Script::Stream& stream, const std::string& text) {
      if (text == "pause") stream.pause();
    };
    script_.on_timer = [](Script::Stream&) {};
    services_.add(std::string(Services::kProcess), std::make_unique<Factory>(script_));
    config::Server config;
    config.listen = {"127.0.0.1:0"};
    config.transport = GetParam();
    config.threads = 2;
    config.limits.max_message_size = 1 << 20;
    server_ = *server::start_transport(config, registry_, metrics_, services_);
    client_ = std::make_unique<Http2Client>(Http2Client::connect(server_->addresses().at(0)));
    client_->greet();
    EXPECT_TRUE(client_->settle());
  }
  ~WaitingTest() override {
    server_.reset();
    EXPECT_THAT(script_.events(), Not(Contains(testing::StartsWith("told "))));
  }

  int32_t open() { return client_->open(grpc_call(Services::kProcess)); }
  /// Opens a stream that is told some messages in one DATA frame.
  int32_t open_with(const std::vector<std::string>& messages, bool end = false) {
    const int32_t stream = open();
    std::string bytes;
    for (const std::string& message : messages) bytes += grpc_message(message);
    client_->send(data_frame(stream, bytes, end));
    return stream;
  }
  /// Work that was posted has run, and so has all that it led to at once.
  void post_and_wait(const std::function<void(Script::Stream&)>& work) {
    const auto done = std::make_shared<std::promise<void>>();
    script_.post([=](Script::Stream& stream) {
      work(stream);
      done->set_value();
    });
    ASSERT_EQ(done->get_future().wait_for(kVeryLong), std::future_status::ready);
    ASSERT_TRUE(client_->settle());
  }
  /// Of one that has ended.
  std::string status_of(int32_t stream) {
    EXPECT_TRUE(client_->wait_for_end(stream));
    EXPECT_EQ(client_->reader.wrong, "");
    return client_->reader.streams[stream].trailer("grpc-status");
  }
  std::vector<std::string> replies_to(int32_t stream) { return client_->reader.streams[stream].messages(); }

  telemetry::Registry registry_{4};
  telemetry::Metrics metrics_{registry_};
  Script script_;
  Services services_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Http2Client> client_;
};

std::vector<std::string> numbers(int count) {
  std::vector<std::string> result;
  for (int i = 0; i < count; ++i) result.push_back(std::to_string(i));
  return result;
}

// Pauses.

TEST_P(WaitingTest, messages_wait_for_a_stream_that_another_thread_lets_go_on) {
  script_.on_message = [this](Script::Stream& stream, const std::string& text) {
    stream.pause();
    std::thread([&] {
      script_.post([text](Script::Stream& later) {
        later.sink.send(text);
        later.resume();
      });
    }).join();
  };
  const int32_t stream = open_with(numbers(100), true);
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_EQ(replies_to(stream), numbers(100));
}

TEST_P(WaitingTest, messages_wait_for_a_stream_that_goes_on_by_its_timer) {
  auto last = std::make_shared<std::string>();
  script_.on_message = [=](Script::Stream& stream, const std::string& text) {
    stream.pause();
    *last = text;
    stream.set_timer(0s);
  };
  script_.on_timer = [=](Script::Stream& stream) {
    stream.sink.send(*last);
    stream.resume();
  };
  const int32_t stream = open_with(numbers(100), true);
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_EQ(replies_to(stream), numbers(100));
}

TEST_P(WaitingTest, messages_do_not_wait_for_a_stream_that_resumes_at_once) {
  script_.on_message = [](Script::Stream& stream, const std::string& text) {
    for (int i = 0; i < 3; ++i) {
      stream.pause();
      stream.resume();
    }
    stream.sink.send(text);
  };
  const int32_t stream = open_with(numbers(100), true);
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_EQ(replies_to(stream), numbers(100));
}

TEST_P(WaitingTest, a_half_close_waits) {
  const int32_t stream = open_with({"pause"}, true);
  ASSERT_TRUE(script_.wait_for("pause"));
  ASSERT_TRUE(client_->settle());
  post_and_wait([](Script::Stream&) {});
  EXPECT_THAT(script_.events(), ElementsAre("pause"));
  post_and_wait([](Script::Stream& later) { later.resume(); });
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("pause", "half-closed", "destroyed"));
}

TEST_P(WaitingTest, a_stream_may_pause_when_it_is_told_nothing) {
  const int32_t stream = open_with({"first"});
  ASSERT_TRUE(script_.wait_for("first"));
  post_and_wait([](Script::Stream& later) { later.pause(); });
  client_->send(data_frame(stream, grpc_message("second")));
  ASSERT_TRUE(client_->settle());
  for (int i = 0; i < 10; ++i) {  // at most one of them is what another thread was about to hand over
    post_and_wait([](Script::Stream& later) {
      later.resume();
      later.pause();
    });
  }
  EXPECT_THAT(script_.events(), ElementsAre("first"));
  client_->send(data_frame(stream, grpc_message("third"), true));
  post_and_wait([](Script::Stream& later) { later.resume(); });
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("first", "second", "third", "half-closed", "destroyed"));
}

TEST_P(WaitingTest, a_half_close_waits_for_a_stream_that_paused_when_it_was_told_nothing) {
  const int32_t stream = open_with({"first"});
  ASSERT_TRUE(script_.wait_for("first"));
  post_and_wait([](Script::Stream& later) { later.pause(); });
  client_->send(data_frame(stream, {}, true));
  ASSERT_TRUE(client_->settle());
  post_and_wait([](Script::Stream&) {});
  EXPECT_THAT(script_.events(), ElementsAre("first"));
  post_and_wait([](Script::Stream& later) { later.resume(); });
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("half-closed"));
}

TEST_P(WaitingTest, a_stream_that_is_paused_sends_and_finishes) {
  const int32_t stream = open_with({"pause", "behind it"}, true);
  ASSERT_TRUE(script_.wait_for("pause"));
  script_.post([](Script::Stream& later) { later.sink.send(std::string("reply")); });
  EXPECT_TRUE(client_->wait([&] { return !replies_to(stream).empty(); }));
  script_.post([](Script::Stream& later) { later.sink.finish(absl::AbortedError("enough")); });
  EXPECT_EQ(status_of(stream), "10");
  EXPECT_THAT(replies_to(stream), ElementsAre("reply"));
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("pause", "destroyed"));
}

TEST_P(WaitingTest, a_peer_that_sends_on_is_held_back) {
  // As large as a window gets: the native transport's own, and what grpc++ 1.51 was seen to make of its 4 MiB, twice.
  const std::size_t most = GetParam() == config::Transport::kNative ? 1 << 20 : 16 << 20;
  constexpr std::size_t kAll = 32 << 20;
  const std::string message = grpc_message(std::string(16000, 'x'));
  const int32_t stream = open_with({"pause"});
  ASSERT_TRUE(script_.wait_for("pause"));
  std::size_t sent = grpc_message("pause").size();
  std::size_t messages = 0;
  const auto window = [&] {
    auto& reader = client_->reader;
    const auto& settings = reader.settings;
    const auto initial = settings.find(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    const uint64_t its =
        (initial == settings.end() ? 65535 : initial->second) + reader.streams[stream].credit;
    return std::min<uint64_t>(its, 65535 + reader.connection_credit) - sent;
  };
  const auto send_what_is_allowed = [&] {
    while (sent < kAll && window() >= message.size()) {
      client_->send(data_frame(stream, message));
      sent += message.size();
      ++messages;
    }
  };
  for (int i = 0; i < 20; ++i) {
    send_what_is_allowed();
    ASSERT_TRUE(client_->settle());
  }
  EXPECT_LE(sent, most);
  EXPECT_GT(messages, 0U);
  post_and_wait([](Script::Stream&) {});
  EXPECT_THAT(script_.events(), ElementsAre("pause"));

  script_.post([](Script::Stream& later) { later.resume(); });
  EXPECT_TRUE(client_->wait([&] {
    send_what_is_allowed();
    return sent >= kAll;
  }));
  client_->send(data_frame(stream, {}, true));
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_EQ(script_.events().size(), 1 + messages + 2);
}

TEST_P(WaitingTest, a_connection_stays_whose_paused_streams_are_sent_much) {
  constexpr int kStreams = 24;  // with nearly 1 MiB each: more than may come of which nothing comes
  std::vector<int32_t> streams;
  for (int i = 0; i < kStreams; ++i) streams.push_back(open_with({"pause"}));
  ASSERT_TRUE(script_.wait_for("pause", kStreams));
  const auto be_looked_at = [] {
    std::this_thread::sleep_for(500ms);
  };  // as grpc++'s connections are, now and then
  be_looked_at();
  const std::string message = grpc_message(std::string(16000, 'x'));
  std::size_t sent = 0;
  for (const int32_t stream : streams) {
    for (int i = 0; i < 60; ++i) {
      // The connection's window comes back although nothing is taken: other streams must not wait.
      ASSERT_TRUE(
          client_->wait([&] { return sent + message.size() <= 65535 + client_->reader.connection_credit; }));
      client_->send(data_frame(stream, message));
      sent += message.size();
    }
  }
  ASSERT_TRUE(client_->settle());
  be_looked_at();
  EXPECT_TRUE(client_->settle());
  EXPECT_EQ(metrics_.limits[static_cast<std::size_t>(telemetry::Limit::kUnfinished)]->value(), 0U);
}

TEST_P(WaitingTest, a_reset_is_told_at_once_to_a_stream_that_is_paused) {
  const int32_t stream = open_with({"pause", "behind it"}, true);
  ASSERT_TRUE(script_.wait_for("pause"));
  client_->send(test::reset_frame(stream, NGHTTP2_CANCEL));
  ASSERT_TRUE(script_.wait_for("destroyed"));
  script_.post([this](Script::Stream&) { script_.add("ran"); });
  ASSERT_TRUE(client_->settle());
  server_.reset();
  EXPECT_THAT(script_.events(), ElementsAre("pause", "cancelled", "destroyed"));
}

TEST_P(WaitingTest, a_lost_connection_is_told_at_once_to_a_stream_that_is_paused) {
  open_with({"pause", "behind it"});
  ASSERT_TRUE(script_.wait_for("pause"));
  client_->close();
  ASSERT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("pause", "cancelled", "destroyed"));
}

TEST_P(WaitingTest, a_passed_deadline_of_the_client_is_told_at_once_to_a_stream_that_is_paused) {
  test::Fields fields = grpc_call(Services::kProcess);
  fields.emplace_back("grpc-timeout", "300m");
  const int32_t stream = client_->open(fields);
  client_->send(data_frame(stream, grpc_message("pause") + grpc_message("behind it"), true));
  ASSERT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("pause", "cancelled", "destroyed"));
}

TEST_P(WaitingTest, a_shutdown_is_told_to_a_stream_that_is_paused) {
  open_with({"pause", "behind it"}, true);
  ASSERT_TRUE(script_.wait_for("pause"));
  EXPECT_EQ(server_->drain(50ms).cancelled, 1U);
  EXPECT_THAT(script_.events(), ElementsAre("pause", "shut down", "destroyed"));
}

TEST_P(WaitingTest, a_drain_waits_for_a_stream_that_is_paused) {
  const int32_t stream = open_with({"pause", "behind it"}, true);
  ASSERT_TRUE(script_.wait_for("pause"));
  auto drained = std::async(std::launch::async, [this] { return server_->drain(kVeryLong); });
  EXPECT_TRUE(client_->wait([&] { return !client_->reader.goaways.empty(); }));
  script_.post([](Script::Stream& later) { later.resume(); });
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_EQ(drained.get().cancelled, 0U);
  EXPECT_THAT(script_.events(), ElementsAre("pause", "behind it", "half-closed", "destroyed"));
}

// Timers. Where one must not fire, a later one of the same stream is waited for.

constexpr auto kNow = 0ns;
constexpr auto kSoon = 5ms;
constexpr auto kMuchLater = 24h;

TEST_P(WaitingTest, a_timer_fires_once) {
  const int32_t stream = open_with({"a"});
  ASSERT_TRUE(script_.wait_for("a"));
  for (const auto after : {kNow, std::chrono::nanoseconds(kSoon)}) {
    const auto before = std::ranges::count(script_.events(), "timer");
    std::promise<engine::Clock::time_point> fired;
    script_.on_timer = [&](Script::Stream& one) { fired.set_value(one.sink.now()); };
    engine::Clock::time_point due;
    post_and_wait([&](Script::Stream& later) {
      due = later.sink.now() + after;
      later.sink.set_timer(due);
    });
    auto future = fired.get_future();
    ASSERT_EQ(future.wait_for(kVeryLong), std::future_status::ready);
    EXPECT_GE(future.get(), due) << "not before its time";
    EXPECT_EQ(std::ranges::count(script_.events(), "timer"), before + 1);
  }
  client_->send(data_frame(stream, {}, true));
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_THAT(script_.events(), ElementsAre("a", "timer", "timer", "half-closed", "destroyed"));
}

TEST_P(WaitingTest, a_timer_takes_the_place_of_the_one_before) {
  script_.on_message = [](Script::Stream& stream, const std::string& text) {
    if (text == "earlier") {
      stream.set_timer(kMuchLater);
      stream.set_timer(kSoon);
    } else if (text == "later") {
      stream.set_timer(kSoon);
      stream.set_timer(kMuchLater);
    } else if (text == "none") {
      stream.set_timer(kSoon);
      stream.set_timer(std::nullopt);
    } else if (text == "all") {
      stream.set_timer(kMuchLater);
      stream.set_timer(kNow);
      stream.set_timer(std::nullopt);
      stream.set_timer(2 * kMuchLater);
      stream.set_timer(kSoon);
    }
  };
  const int32_t stream = open();
  int fired = 0;
  for (const std::string text : {"earlier", "later", "earlier", "none", "all", "none", "all"}) {
    client_->send(data_frame(stream, grpc_message(text)));
    if (text == "earlier" || text == "all") {
      ASSERT_TRUE(script_.wait_for("timer", ++fired));
    } else {
      std::this_thread::sleep_for(2 * kSoon);  // a wrong one would have fired
    }
  }
  client_->send(data_frame(stream, {}, true));
  EXPECT_EQ(status_of(stream), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_EQ(std::ranges::count(script_.events(), "timer"), fired);
}

TEST_P(WaitingTest, a_timer_may_be_set_when_one_fires) {
  int left = 20;
  script_.on_message = [](Script::Stream& stream, const std::string&) { stream.set_timer(kNow); };
  script_.on_timer = [&](Script::Stream& stream) {
    if (--left == 0) return stream.sink.finish(absl::OkStatus());
    stream.set_timer(left % 2 == 0 ? kNow : std::chrono::nanoseconds(1ms));
  };
  EXPECT_EQ(status_of(open_with({"a"})), "0");
  EXPECT_TRUE(script_.wait_for("destroyed"));
  EXPECT_EQ(std::ranges::count(script_.events(), "timer"), 20);
}

TEST_P(WaitingTest, a_timer_that_has_not_fired_ends_with_its_stream) {
  script_.on_message = [](Script::Stream& stream, const std::string& text) {
    stream.pause();
    stream.set_timer(text == "soon" ? kNow : kMuchLater);
    if (text != "lost") stream.sink.finish(absl::OkStatus());
    stream.set_timer(kNow);  // not of a stream that is over
    if (text == "lost") stream.set_timer(kMuchLater);
  };
  EXPECT_EQ(status_of(open_with({"soon"})), "0");
  EXPECT_TRUE(script_.wait_for("destroyed", 1));
  EXPECT_EQ(status_of(open_with({"late"})), "0");
  EXPECT_TRUE(script_.wait_for("destroyed", 2));
  const int32_t lost = open_with({"lost"});
  ASSERT_TRUE(script_.wait_for("lost"));
  client_->send(test::reset_frame(lost, NGHTTP2_CANCEL));
  EXPECT_TRUE(script_.wait_for("destroyed", 3));
  open_with({"lost"});
  ASSERT_TRUE(script_.wait_for("lost", 2));
  EXPECT_EQ(server_->drain(0s).cancelled, 1U);
  EXPECT_THAT(script_.events(), Not(Contains("timer")));
  EXPECT_EQ(std::ranges::count(script_.events(), "destroyed"), 4);
}

TEST_P(WaitingTest, a_timer_fires_while_replies_are_not_read) {
  script_.on_message = [](Script::Stream& stream, const std::string&) {
    for (int i = 0; i < 16; ++i) stream.sink.send(std::string(1 << 20, 'x'));
    stream.set_timer(kNow);
  };
  client_->reads = false;
  open_with({"a"});
  EXPECT_TRUE(script_.wait_for("timer"));
  client_->close();  // grpc++ 1.51 does not stop before a write that is blocked
}

INSTANTIATE_TEST_SUITE_P(Each, WaitingTest,
                         testing::Values(config::Transport::kGrpc, config::Transport::kNative),
                         [](const auto& transport) {
                           return std::string(config::to_string(transport.param));
                         });

}  // namespace
}  // namespace extprocd::transport
