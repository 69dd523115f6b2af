// Connections from a client's side, byte by byte. The loop runs on the test's own thread, and in a time of its own.

#include "core/transport/h2/connection.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/socket.h>

#include "core/telemetry/log.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/services.h"
#include "test/support/http2_client.h"

namespace extprocd::transport::h2 {
namespace {

using telemetry::Limit;
using test::data_frame;
using test::Fields;
using test::frame;
using test::grpc_call;
using test::grpc_message;
using test::Http2Client;
using test::ping_frame;
using test::reset_frame;
using test::settings_frame;
using test::window_update_frame;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::size_t kWindow = 1 << 20;  // of a stream, as the server gives it

/// Does what its messages say, and counts what happens to it.
class ScriptStream final : public engine::ServerStream {
 public:
  struct Seen {
    int opened = 0;
    int messages = 0;
    int half_closed = 0;
    int cancelled = 0;
    int destroyed = 0;
    int timers = 0;
    std::vector<std::shared_ptr<engine::Executor>> executors;
    std::vector<engine::Sink*> sinks;  ///< of those that asked for something to be waited for
    std::function<void()> on_timer = [] {};
  };

  ScriptStream(engine::Sink& sink, Seen& seen) : sink_(sink), seen_(seen) { ++seen_.opened; }
  ~ScriptStream() override { ++seen_.destroyed; }

  void receive(engine::Message message) override {
    ++seen_.messages;
    const std::string_view text = message.bytes();
    if (text == "end") {
      sink_.finish(absl::AbortedError("as you wish"));
    } else if (text == "post") {
      seen_.executors.push_back(sink_.executor());
    } else if (text == "pause") {
      wait_for_something();
      sink_.pause_reading();
    } else if (text == "timer") {
      wait_for_something();
      sink_.set_timer(sink_.now());
    } else if (text.starts_with("megabytes ")) {
      for (int i = text.back() - '0'; i > 0; --i) sink_.send(std::string(1 << 20, 'x'));
    } else {
      sink_.send(text);
    }
  }
  void half_closed() override {
    ++seen_.half_closed;
    sink_.finish(absl::OkStatus());
  }
  void cancelled(engine::Cancel) override { ++seen_.cancelled; }
  void timer_fired() override {
    ++seen_.timers;
    seen_.on_timer();
  }

 private:
  void wait_for_something() {
    seen_.executors.push_back(sink_.executor());
    seen_.sinks.push_back(&sink_);
  }

  engine::Sink& sink_;
  Seen& seen_;
};

class ScriptFactory final : public engine::StreamFactory {
 public:
  explicit ScriptFactory(ScriptStream::Seen& seen) : seen_(seen) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<ScriptStream>(sink, seen_);
  }

 private:
  ScriptStream::Seen& seen_;
};

class ConnectionTest : public testing::Test {
 protected:
  using Clock = Connection::Clock;

  static constexpr std::string_view kOther = "/other.Service/Method";

  ConnectionTest() {
    telemetry::init_log("off", "text");
    services_.add(std::string(Services::kProcess), std::make_unique<ScriptFactory>(seen_));
    services_.add(std::string(kOther), std::make_unique<ScriptFactory>(seen_));
    options_.metrics = &metrics_;
  }
  ~ConnectionTest() override {
    clients_.clear();
    if (!loop_) return;
    loop_->close_all();
    loop_->run_ready();
    EXPECT_EQ(shared_->streams, 0U);
    EXPECT_EQ(shared_->connections, 0U);
    EXPECT_EQ(loop_->load(), 0U);
    EXPECT_EQ(seen_.destroyed, seen_.opened);
  }

  /// A client that has said nothing yet. options_ count until the first.
  Http2Client& connect() {
    if (!loop_) {
      shared_ = std::make_unique<Shared>(services_, options_);
      loop_ = std::make_unique<Loop>(*shared_);
    }
    int sockets[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
    shared_->connections.fetch_add(1);
    loop_->adopt(make_plain_channel(Descriptor(sockets[0])), "unix:");
    loop_->run_ready();
    clients_.push_back(std::make_unique<Http2Client>(Descriptor(sockets[1]), [this] { loop_->run_ready(); }));
    return *clients_.back();
  }
  Http2Client& greeted() {
    Http2Client& client = connect();
    client.greet();
    EXPECT_TRUE(client.settle());
    return client;
  }
  int32_t open_stream(Http2Client& client) { return client.open(grpc_call(Services::kProcess)); }
  /// Opens a stream, and has a message answered.
  int32_t open_and_talk(Http2Client& client) {
    const int32_t stream = open_stream(client);
    client.send(data_frame(stream, grpc_message("hello")));
    EXPECT_TRUE(client.wait([&] { return !client.reader.streams[stream].messages().empty(); }));
    return stream;
  }
  void pass(Clock::duration time) {
    now_ += time;
    loop_->tick(now_);
    loop_->run_ready();
  }
  uint64_t hits(Limit limit) { return metrics_.limits[static_cast<std::size_t>(limit)]->value(); }
  /// The connection is told off, counted, and closed.
  void expect_thrown_out(Http2Client& client, Limit limit) {
    EXPECT_TRUE(client.wait_for_close());
    EXPECT_EQ(client.reader.wrong, "");
    ASSERT_FALSE(client.reader.goaways.empty());
    EXPECT_EQ(client.reader.goaways.back().error, NGHTTP2_ENHANCE_YOUR_CALM);
    EXPECT_EQ(hits(limit), 1U);
  }

  telemetry::Registry registry_{1};
  telemetry::Metrics metrics_{registry_};
  ScriptStream::Seen seen_;
  Services services_;
  H2Options options_;
  std::unique_ptr<Shared> shared_;
  std::unique_ptr<Loop> loop_;
  std::vector<std::unique_ptr<Http2Client>> clients_;
  Clock::time_point now_ = Clock::now();
};

TEST_F(ConnectionTest, tells_its_limits_at_once) {
  options_.max_streams_per_connection = 77;
  options_.max_header_list_size = 7777;
  Http2Client& client = connect();
  ASSERT_TRUE(client.wait([&] { return client.reader.settings_frames == 1; }));
  EXPECT_EQ(client.reader.settings[NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS], 77U);
  EXPECT_EQ(client.reader.settings[NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE], 7777U);
  EXPECT_EQ(client.reader.settings[NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE], kWindow);
}

// Time.

TEST_F(ConnectionTest, closes_when_a_ping_stays_unanswered) {
  options_.keepalive_interval = 10s;
  options_.keepalive_timeout = 5s;
  Http2Client& client = greeted();
  open_and_talk(client);
  client.answers = false;
  pass(1s);
  pass(10s);
  client.read();
  EXPECT_EQ(client.reader.pings, 0);
  pass(1s);
  client.read();
  EXPECT_EQ(client.reader.pings, 1);
  pass(4s);
  client.read();
  EXPECT_FALSE(client.closed());
  pass(2s);
  client.read();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(hits(Limit::kKeepaliveTimeout), 1U);
  EXPECT_EQ(seen_.cancelled, 1);
}

TEST_F(ConnectionTest, stays_as_long_as_pings_are_answered) {
  options_.keepalive_interval = 10s;
  options_.keepalive_timeout = 5s;
  Http2Client& client = greeted();
  for (int i = 1; i < 10; ++i) {
    pass(1s);  // that it was heard is noticed
    pass(11s);
    ASSERT_TRUE(client.wait([&] { return client.reader.pings == i; }));
    loop_->run_ready();
  }
  EXPECT_TRUE(client.settle());
}

TEST_F(ConnectionTest, is_told_to_go_when_it_has_had_no_stream_for_long) {
  options_.idle_timeout = 10s;
  Http2Client& client = greeted();
  const int32_t stream = open_and_talk(client);
  pass(100s);
  EXPECT_TRUE(client.settle());
  EXPECT_THAT(client.reader.goaways, SizeIs(0)) << "it has a stream";
  client.send(data_frame(stream, {}, true));
  EXPECT_TRUE(client.wait_for_end(stream));
  pass(1s);
  pass(9s);
  EXPECT_TRUE(client.settle());
  EXPECT_THAT(client.reader.goaways, SizeIs(0));
  pass(2s);
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_THAT(client.reader.goaways, SizeIs(2));
  EXPECT_EQ(hits(Limit::kIdleTimeout), 1U);
}

TEST_F(ConnectionTest, closes_when_nothing_or_only_a_preface_comes) {
  options_.handshake_timeout = 10s;
  Http2Client& silent = connect();
  Http2Client& slow = connect();
  slow.send(test::kPreface.substr(0, 20));
  Http2Client& fine = greeted();
  pass(9s);
  silent.read();
  slow.read();
  EXPECT_FALSE(silent.closed());
  EXPECT_FALSE(slow.closed());
  pass(2s);
  silent.read();
  slow.read();
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(slow.closed());
  EXPECT_TRUE(fine.settle());
  EXPECT_EQ(hits(Limit::kHandshakeTimeout), 2U);
}

TEST_F(ConnectionTest, is_told_to_go_at_an_age_that_differs_by_a_tenth) {
  options_.max_connection_age = 100s;
  options_.keepalive_interval = 0s;
  constexpr std::size_t kConnections = 50;
  for (std::size_t i = 0; i < kConnections; ++i) greeted();
  std::vector<std::size_t> gone;  // by the second
  for (int second = 1; second <= 112; ++second) {
    pass(1s);
    gone.push_back(static_cast<std::size_t>(std::ranges::count_if(clients_, [](auto& client) {
      client->read();
      return !client->reader.goaways.empty();
    })));
  }
  EXPECT_EQ(gone[88], 0U);
  EXPECT_EQ(gone[110], kConnections);
  EXPECT_GT(gone[99], 0U) << "not all at once";
  EXPECT_LT(gone[99], kConnections);
  for (auto& client : clients_) EXPECT_TRUE(client->wait_for_close());
}

TEST_F(ConnectionTest, of_age_keeps_its_streams_until_the_grace_is_over) {
  options_.max_connection_age = 100s;
  options_.max_connection_age_grace = 50s;
  options_.keepalive_interval = 0s;
  Http2Client& client = greeted();
  const int32_t stream = open_and_talk(client);
  pass(111s);
  EXPECT_TRUE(client.wait([&] { return client.reader.goaways.size() == 2; }));
  client.send(data_frame(stream, grpc_message("still")));
  EXPECT_TRUE(client.wait([&] { return client.reader.streams[stream].messages().size() == 2; }));
  pass(50s);
  client.read();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(seen_.cancelled, 1);
}

TEST_F(ConnectionTest, ends_a_call_at_its_deadline) {
  Http2Client& client = greeted();
  Fields fields = grpc_call(Services::kProcess);
  fields.emplace_back("grpc-timeout", "1m");
  const int32_t stream = client.open(fields);
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "4");
  EXPECT_EQ(seen_.cancelled, 1);
}

// Going away.

TEST_F(ConnectionTest, serves_a_request_that_was_under_way_when_it_was_told_to_go) {
  Http2Client& client = greeted();
  client.answers = false;
  loop_->drain();
  ASSERT_TRUE(client.wait([&] { return client.reader.pings == 1; }));
  ASSERT_THAT(client.reader.goaways, SizeIs(1));
  EXPECT_EQ(client.reader.goaways[0].last_stream, INT32_MAX);
  EXPECT_EQ(client.reader.goaways[0].error, NGHTTP2_NO_ERROR);
  const int32_t crossing = open_stream(client);
  client.send(ping_frame("draining", true));
  const int32_t behind = open_stream(client);  // read with the answer, before the last GOAWAY is sent
  ASSERT_TRUE(client.wait([&] { return client.reader.goaways.size() == 2; }));
  EXPECT_EQ(client.reader.goaways[1].last_stream, behind);
  const int32_t late = open_stream(client);
  for (const int32_t stream : {crossing, behind, late})
    client.send(data_frame(stream, grpc_message("hello"), true));
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(client.reader.wrong, "");
  for (const int32_t stream : {crossing, behind}) {
    EXPECT_THAT(client.reader.streams[stream].messages(), ElementsAre("hello"));
    EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "0");
  }
  EXPECT_FALSE(client.reader.streams[late].has_head);
  EXPECT_EQ(seen_.opened, 2) << "exactly those that the last GOAWAY names";
}

TEST_F(ConnectionTest, does_not_wait_long_for_a_peer_that_does_not_answer_its_goaway) {
  Http2Client& client = greeted();
  client.answers = false;
  pass(1s);
  loop_->drain();
  loop_->run_ready();
  pass(3s);
  EXPECT_TRUE(client.wait([&] { return client.reader.goaways.size() == 2; }));
  pass(3s);  // and not for its FIN
  client.read();
  EXPECT_TRUE(client.closed());
}

TEST_F(ConnectionTest, tells_its_streams_when_the_server_stops) {
  Http2Client& client = greeted();
  const int32_t stream = open_and_talk(client);
  loop_->close_all();
  EXPECT_TRUE(client.wait_for_close());
  EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "14");
  EXPECT_EQ(seen_.cancelled, 1);
}

// Floods.

TEST_F(ConnectionTest, throws_out_who_resets_streams_in_vain) {
  options_.max_resets_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 10; ++i) client.send(reset_frame(open_stream(client), NGHTTP2_CANCEL));
  EXPECT_TRUE(client.settle());
  client.send(reset_frame(open_stream(client), NGHTTP2_CANCEL));
  expect_thrown_out(client, Limit::kResetFlood);
  EXPECT_EQ(seen_.cancelled, 11);
}

TEST_F(ConnectionTest, throws_out_whose_streams_have_to_be_reset_in_vain) {
  options_.max_resets_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 11; ++i) {
    Fields fields = grpc_call(Services::kProcess);
    fields.emplace_back("content-length", "1");
    // More than was announced: HTTP/2's own rules end the stream.
    client.send(data_frame(client.open(fields), "four"));
  }
  expect_thrown_out(client, Limit::kResetFlood);
  EXPECT_EQ(seen_.cancelled, 11);
}

TEST_F(ConnectionTest, lets_streams_be_reset_that_a_message_came_on) {
  options_.max_resets_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 100; ++i) {
    const int32_t stream = open_stream(client);
    client.send(data_frame(stream, grpc_message("hello")) + reset_frame(stream, NGHTTP2_CANCEL));
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, 100);
}

TEST_F(ConnectionTest, counts_floods_by_the_second) {
  options_.max_resets_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 100; ++i) {
    client.send(reset_frame(open_stream(client), NGHTTP2_CANCEL));
    if (i % 10 == 9) {
      EXPECT_TRUE(client.settle());
      pass(2s);
    }
  }
  EXPECT_TRUE(client.settle());
}

TEST_F(ConnectionTest, throws_out_who_pings_without_end) {
  options_.max_control_frames_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 12; ++i) client.send(ping_frame("12345678"));
  expect_thrown_out(client, Limit::kPingFlood);
}

TEST_F(ConnectionTest, throws_out_who_sends_settings_without_end) {
  options_.max_control_frames_per_second = 10;
  Http2Client& client = greeted();
  for (int i = 0; i < 12; ++i) client.send(settings_frame());
  expect_thrown_out(client, Limit::kSettingsFlood);
}

TEST_F(ConnectionTest, throws_out_who_sends_empty_frames_without_end) {
  options_.max_control_frames_per_second = 10;
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  for (int i = 0; i < 11; ++i) client.send(data_frame(stream, {}));
  expect_thrown_out(client, Limit::kEmptyFramesFlood);
}

TEST_F(ConnectionTest, throws_out_who_never_ends_a_header_block) {
  Http2Client& client = greeted();
  client.send(frame(NGHTTP2_HEADERS, 0, 1, {}));
  for (int i = 0; i < 100; ++i) client.send(frame(NGHTTP2_CONTINUATION, 0, 1, {}));
  expect_thrown_out(client, Limit::kContinuationFlood);
}

TEST_F(ConnectionTest, throws_out_who_sends_much_of_which_nothing_comes) {
  options_.max_message_size = 1000;
  Http2Client& client = greeted();
  // Frames of a kind that there is not, which HTTP/2 says to ignore.
  const std::string nothing = frame(0xcc, 0, 0, std::string(16384, 'x'));
  for (int i = 0; i < 1100 && client.send(nothing); ++i) {
  }
  expect_thrown_out(client, Limit::kUnfinished);
}

TEST_F(ConnectionTest, keeps_who_sends_much_of_which_messages_come) {
  options_.max_message_size = 1 << 20;
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  for (int i = 0; i < 2000; ++i) {
    client.send(data_frame(stream, grpc_message(std::string(16000, 'x'))));
    client.read();
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, 2000);
}

// What is no call, or one too many.

TEST_F(ConnectionTest, answers_a_header_list_over_the_limit_with_431) {
  options_.max_header_list_size = 1000;
  Http2Client& client = greeted();
  Fields fields = grpc_call(Services::kProcess);
  fields.emplace_back("x-large", std::string(1000, 'x'));
  const int32_t stream = client.open(fields);
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].header(":status"), "431");
  EXPECT_EQ(client.reader.streams[stream].header("grpc-status"), "8");
  EXPECT_EQ(hits(Limit::kHeaderListSize), 1U);
  open_and_talk(client);
  EXPECT_EQ(client.reader.wrong, "");
}

TEST_F(ConnectionTest, answers_what_is_no_grpc_in_http) {
  Http2Client& client = greeted();
  Fields get = grpc_call(Services::kProcess);
  get[0].second = "GET";
  Fields json = grpc_call(Services::kProcess);
  json.back().second = "application/json";
  Fields web = grpc_call(Services::kProcess);
  web.back().second = "application/grpc-web";
  const std::vector<std::pair<Fields, std::string>> cases = {{get, "405"}, {json, "415"}, {web, "415"}};
  for (const auto& [fields, status] : cases) {
    const int32_t stream = client.open(fields, true);
    EXPECT_TRUE(client.wait_for_end(stream));
    EXPECT_EQ(client.reader.streams[stream].header(":status"), status);
    EXPECT_NE(client.reader.streams[stream].data, "");
  }
  Fields head = grpc_call(Services::kProcess);
  head[0].second = "HEAD";
  const int32_t stream = client.open(head, true);
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].header(":status"), "405");
  EXPECT_EQ(client.reader.streams[stream].data, "");
  EXPECT_EQ(client.reader.wrong, "");
  EXPECT_EQ(seen_.opened, 0);
}

TEST_F(ConnectionTest, answers_a_path_so_long_that_it_does_not_fit_into_the_answer) {
  Http2Client& client = greeted();
  const int32_t stream = client.open(grpc_call("/" + std::string(60000, '%')));
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].header("grpc-status"), "12");
}

TEST_F(ConnectionTest, refuses_streams_beyond_the_servers_limit_but_lets_others_through) {
  options_.max_streams = 2;
  Http2Client& client = greeted();
  open_and_talk(client);
  const int32_t second = open_and_talk(client);
  const int32_t third = open_stream(client);
  EXPECT_TRUE(client.wait_for_end(third));
  EXPECT_EQ(client.reader.streams[third].trailer("grpc-status"), "8");
  EXPECT_EQ(hits(Limit::kStreams), 1U);
  const int32_t other = client.open(grpc_call(kOther));
  client.send(data_frame(other, grpc_message("hello"), true));
  EXPECT_TRUE(client.wait_for_end(other));
  EXPECT_EQ(client.reader.streams[other].trailer("grpc-status"), "0");
  client.send(data_frame(second, {}, true));
  EXPECT_TRUE(client.wait_for_end(second));
  open_and_talk(client);
}

TEST_F(ConnectionTest, refuses_streams_beyond_what_it_allows_at_a_time) {
  options_.max_streams_per_connection = 2;
  Http2Client& client = greeted();
  open_and_talk(client);
  open_and_talk(client);
  open_stream(client);
  EXPECT_TRUE(client.wait([&] { return client.closed() || client.reader.streams[5].is_over(); }));
  EXPECT_EQ(seen_.opened, 2);
}

// Ends.

TEST_F(ConnectionTest, tells_a_peer_that_has_not_ended_yet_that_it_need_not_go_on) {
  Http2Client& client = greeted();
  const int32_t early = open_stream(client);
  client.send(data_frame(early, grpc_message("end")));
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(client.reader.streams[early].trailer("grpc-status"), "10");
  EXPECT_EQ(client.reader.streams[early].trailer("grpc-message"), "as you wish");
  EXPECT_EQ(client.reader.streams[early].reset, NGHTTP2_NO_ERROR);
  const int32_t whole = open_stream(client);
  client.send(data_frame(whole, grpc_message("end"), true));
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(client.reader.streams[whole].trailer("grpc-status"), "10");
  EXPECT_EQ(client.reader.streams[whole].reset, std::nullopt);
  EXPECT_EQ(seen_.half_closed, 0);
  EXPECT_EQ(seen_.destroyed, 2);
}

TEST_F(ConnectionTest, runs_nothing_that_was_posted_to_a_call_that_is_over) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  client.send(data_frame(stream, grpc_message("post")));
  EXPECT_TRUE(client.settle());
  int ran = 0;
  ASSERT_THAT(seen_.executors, SizeIs(1));
  seen_.executors[0]->post([&] { ++ran; });
  loop_->run_ready();
  EXPECT_EQ(ran, 1);
  seen_.executors[0]->post([&] { ++ran; });
  client.send(data_frame(stream, {}, true));
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(ran, 2);
  seen_.executors[0]->post([&] { ++ran; });
  loop_->run_ready();
  EXPECT_EQ(ran, 2);
}

// A peer that does not read.

TEST_F(ConnectionTest, takes_no_more_from_a_stream_whose_replies_nobody_reads) {
  Http2Client& client = connect();
  client.greet({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000}});
  const int32_t stream = open_stream(client);
  client.send(data_frame(stream, grpc_message("megabytes 2")));
  EXPECT_TRUE(client.settle());
  const uint64_t credit = client.reader.streams[stream].credit;
  constexpr int kMessages = 60;
  for (int i = 0; i < kMessages; ++i) client.send(data_frame(stream, grpc_message(std::string(16000, 'y'))));
  client.send(data_frame(stream, grpc_message("last"), true));
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, 1);
  EXPECT_EQ(seen_.half_closed, 0);
  EXPECT_EQ(client.reader.streams[stream].credit, credit) << "what is held keeps its part of the window";
  EXPECT_EQ(client.reader.streams[stream].data.size(), 1000U);

  client.send(window_update_frame(stream, 1 << 30));
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(seen_.messages, kMessages + 2);
  EXPECT_EQ(seen_.half_closed, 1);
  EXPECT_THAT(client.reader.streams[stream].messages(), SizeIs(2 + kMessages + 1));
  EXPECT_EQ(client.reader.wrong, "");
}

TEST_F(ConnectionTest, keeps_who_sends_much_to_streams_that_are_held_back) {
  options_.max_message_size = 1000;
  Http2Client& client = connect();
  client.greet({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}});
  std::vector<int32_t> streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(open_stream(client));
    client.send(data_frame(streams.back(), grpc_message("megabytes 2")));
  }
  std::string messages;
  for (int i = 0; i < 16; ++i) messages += grpc_message(std::string(900, 'y'));
  constexpr int kFrames = 60;
  for (const int32_t stream : streams) {
    for (int i = 0; i < kFrames; ++i) client.send(data_frame(stream, messages));
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(hits(Limit::kUnfinished), 0U);
  EXPECT_EQ(seen_.messages, 20);
}

TEST_F(ConnectionTest, gives_the_window_back_as_messages_are_taken) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  // Many times the window.
  for (int i = 0; i < 1000; ++i) {
    client.send(data_frame(stream, grpc_message(std::string(16000, 'y'))));
    client.read();
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, 1000);
  EXPECT_GT(client.reader.streams[stream].credit, 14U * kWindow);
  EXPECT_GT(client.reader.connection_credit, 14U * kWindow);
}

TEST_F(ConnectionTest, lets_go_of_a_peer_that_leaves_while_much_is_unsent) {
  Http2Client& client = greeted();
  client.reads = false;
  for (int i = 0; i < 8; ++i) {
    const int32_t stream = open_stream(client);
    client.send(data_frame(stream, grpc_message("megabytes 9")) + data_frame(stream, grpc_message("more")));
    loop_->run_ready();
  }
  client.close();
  loop_->run_ready();
  EXPECT_EQ(seen_.destroyed, 8);
  EXPECT_EQ(seen_.cancelled, 8);
  EXPECT_EQ(loop_->load(), 0U);
}

TEST_F(ConnectionTest, lets_go_of_a_peer_that_leaves_just_when_a_paused_call_could_go_on) {
  Http2Client& client = connect();
  client.greet({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 400 << 10}});
  const int32_t stream = open_stream(client);
  client.send(data_frame(stream, grpc_message("megabytes 1")) + data_frame(stream, grpc_message("more")));
  EXPECT_TRUE(client.wait([&] { return client.reader.streams[stream].data.size() == 400 << 10; }));
  // The next DATA frames would be what lets it go on, but they cannot be written.
  client.send(window_update_frame(stream, 1 << 30));
  client.close();
  loop_->run_ready();
  EXPECT_EQ(seen_.cancelled, 1);
  EXPECT_EQ(loop_->load(), 0U);
}

// Streams that wait.

TEST_F(ConnectionTest, keeps_the_window_of_what_waits_for_a_stream_that_paused) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  client.send(data_frame(stream, grpc_message("pause") + grpc_message("behind it")));
  EXPECT_TRUE(client.settle());
  const uint64_t credit = client.reader.streams[stream].credit;
  constexpr int kMessages = 60;
  for (int i = 0; i < kMessages; ++i) client.send(data_frame(stream, grpc_message(std::string(16000, 'y'))));
  client.send(data_frame(stream, grpc_message("last"), true));
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, 1);
  EXPECT_EQ(seen_.half_closed, 0);
  EXPECT_EQ(client.reader.streams[stream].credit, credit);

  seen_.executors[0]->post([&] {
    seen_.sinks[0]->resume_reading();
    EXPECT_EQ(seen_.messages, 1) << "not from within";
  });
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(seen_.messages, kMessages + 3);
  EXPECT_EQ(seen_.half_closed, 1);
  EXPECT_EQ(client.reader.wrong, "");
}

TEST_F(ConnectionTest, resets_a_stream_that_sends_over_its_window_while_it_is_paused) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  client.send(data_frame(stream, grpc_message("pause")));
  const std::string payload(16384, 'y');
  for (std::size_t sent = 0; sent <= kWindow; sent += payload.size())
    client.send(data_frame(stream, payload));
  EXPECT_TRUE(client.wait(
      [&] { return client.reader.streams[stream].reset.has_value() || !client.reader.goaways.empty(); }));
  loop_->run_ready();
  EXPECT_EQ(seen_.cancelled, 1);
}

TEST_F(ConnectionTest, hands_out_a_window_of_small_messages_to_a_stream_that_pauses_after_each) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  std::string messages;
  int count = 0;
  for (; messages.size() < 16000; ++count) messages += grpc_message("pause");
  constexpr int kFrames = 60;
  for (int i = 0; i < kFrames; ++i) client.send(data_frame(stream, messages, i + 1 == kFrames));
  EXPECT_TRUE(client.settle());
  for (int i = 0; i < kFrames * count; ++i) {
    ASSERT_EQ(seen_.messages, i + 1);
    seen_.executors.back()->post([&] { seen_.sinks.back()->resume_reading(); });
    loop_->run_ready();
  }
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(seen_.messages, kFrames * count);
  EXPECT_EQ(seen_.half_closed, 1);
}

TEST_F(ConnectionTest, goes_on_with_a_stream_that_was_paused_for_both_reasons_when_both_are_over) {
  for (const bool resumes_first : {true, false}) {
    Http2Client& client = connect();
    client.greet({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}});
    const int32_t stream = open_stream(client);
    client.send(data_frame(stream, grpc_message("pause")));
    EXPECT_TRUE(client.settle());
    engine::Sink* const sink = seen_.sinks.back();
    const auto executor = seen_.executors.back();
    const int before = seen_.messages;
    executor->post([&] {
      for (int i = 0; i < 2; ++i) sink->send(std::string(1 << 20, 'x'));
    });
    client.send(data_frame(stream, grpc_message("behind it"), true));
    EXPECT_TRUE(client.settle());
    const auto resume = [&] { executor->post([&] { sink->resume_reading(); }); };
    const auto give_window = [&] { client.send(window_update_frame(stream, 1 << 30)); };
    resumes_first ? resume() : give_window();
    EXPECT_TRUE(client.settle());
    EXPECT_EQ(seen_.messages, before);
    resumes_first ? give_window() : resume();
    EXPECT_TRUE(client.wait_for_end(stream));
    EXPECT_EQ(seen_.messages, before + 1);
    EXPECT_THAT(client.reader.streams[stream].messages(), SizeIs(3));
  }
  EXPECT_EQ(seen_.half_closed, 2);
}

TEST_F(ConnectionTest, goes_on_with_a_stream_whose_peer_does_not_read) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  const int32_t other = open_stream(client);
  client.send(data_frame(stream, grpc_message("pause") + grpc_message("behind it")));
  EXPECT_TRUE(client.settle());
  client.reads = false;
  client.send(data_frame(other, grpc_message("megabytes 9")));  // more than the socket takes
  loop_->run_ready();
  EXPECT_EQ(seen_.messages, 2);
  seen_.executors[0]->post([&] { seen_.sinks[0]->resume_reading(); });
  loop_->run_ready();
  EXPECT_EQ(seen_.messages, 3);
}

TEST_F(ConnectionTest, keeps_who_sends_much_to_streams_that_are_paused) {
  options_.max_message_size = 1000;
  Http2Client& client = greeted();
  constexpr int kStreams = 40;
  std::vector<int32_t> streams;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(open_stream(client));
    client.send(data_frame(streams.back(), grpc_message("pause")));
  }
  std::string messages;
  for (int i = 0; i < 16; ++i) messages += grpc_message(std::string(900, 'y'));
  constexpr int kFrames = 60;
  for (const int32_t stream : streams) {
    for (int i = 0; i < kFrames; ++i) client.send(data_frame(stream, messages));
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(hits(Limit::kUnfinished), 0U);
  for (std::size_t i = 0; i < kStreams; ++i) {
    seen_.executors[i]->post([this, i] { seen_.sinks[i]->resume_reading(); });
  }
  EXPECT_TRUE(client.settle());
  EXPECT_EQ(seen_.messages, kStreams * (1 + 16 * kFrames));
}

TEST_F(ConnectionTest, ends_a_call_at_its_deadline_while_it_is_paused) {
  Http2Client& client = greeted();
  Fields fields = grpc_call(Services::kProcess);
  fields.emplace_back("grpc-timeout", "100m");
  const int32_t stream = client.open(fields);
  client.send(data_frame(stream, grpc_message("pause") + grpc_message("behind it"), true));
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "4");
  EXPECT_EQ(seen_.messages, 1);
  EXPECT_EQ(seen_.half_closed, 0);
  EXPECT_EQ(seen_.cancelled, 1);
}

TEST_F(ConnectionTest, does_not_fire_a_timer_that_was_set_anew_when_its_time_had_come) {
  Http2Client& client = greeted();
  for (int i = 0; i < 2; ++i) {
    client.send(data_frame(open_stream(client), grpc_message("timer")));
  }
  // Both have expired when the loop looks at them: the first one's stream calls off the second.
  seen_.on_timer = [this] {
    seen_.sinks[1]->set_timer(seen_.sinks[1]->now() + 1h);
    seen_.sinks[0]->set_timer(std::nullopt);
  };
  EXPECT_TRUE(client.settle());
  loop_->run_ready();
  EXPECT_EQ(seen_.timers, 1);
}

TEST_F(ConnectionTest, sends_what_a_stream_says_when_its_timer_fires) {
  Http2Client& client = greeted();
  const int32_t stream = open_stream(client);
  seen_.on_timer = [this] { seen_.sinks[0]->finish(absl::DeadlineExceededError("too slow")); };
  client.send(data_frame(stream, grpc_message("timer")));
  EXPECT_TRUE(client.wait_for_end(stream));
  EXPECT_EQ(client.reader.streams[stream].trailer("grpc-status"), "4");
  EXPECT_EQ(seen_.destroyed, 1);
}

// Memory.

std::size_t heap_in_use() { return mallinfo2().uordblks; }

TEST_F(ConnectionTest, keeps_little_for_streams_that_are_idle) {
  constexpr int kStreams = 500;
  Http2Client& client = greeted();
  std::vector<int32_t> streams;
  for (int i = 0; i < kStreams; ++i) streams.push_back(open_and_talk(client));
  const std::size_t before = heap_in_use();
  const std::string large(200'000, 'x');
  std::string message = grpc_message(large);
  for (const int32_t stream : streams) {
    for (std::size_t at = 0; at < message.size(); at += 16384) {
      client.send(data_frame(stream, std::string_view(message).substr(at, 16384)));
      loop_->run_ready();
    }
    EXPECT_TRUE(client.wait([&] { return client.reader.streams[stream].messages().size() == 2; }));
    EXPECT_EQ(client.reader.streams[stream].messages()[1].size(), large.size());
    client.reader.streams[stream].data.clear();
    client.reader.streams[stream].data.shrink_to_fit();
    client.reader.streams[stream].data = grpc_message({});  // as many messages as there were before
  }
  EXPECT_TRUE(client.settle());
  const std::size_t after = heap_in_use();
  EXPECT_LT(after, before + kStreams * 2048 + 10 * large.size());
}

}  // namespace
}  // namespace extprocd::transport::h2
