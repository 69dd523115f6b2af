#include "core/server/transport.h"

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>
#include <string>
#include <thread>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/telemetry/registry.h"
#include "core/transport/grpc/probe.h"
#include "core/transport/health.h"
#include "core/transport/reflection.h"

namespace extprocd::transport {
namespace {

using envoy::service::ext_proc::v3::ExternalProcessor;
using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;
using testing::HasSubstr;

/// Counts what happens to the streams of a server, and lets a test wait for it.
class Events {
 public:
  void add(const std::string& event) {
    const std::lock_guard lock(mutex_);
    ++counts_[event];
    changed_.notify_all();
  }
  bool wait_for(const std::string& event, int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return counts_[event] >= count; });
  }
  int count(const std::string& event) {
    const std::lock_guard lock(mutex_);
    return counts_[event];
  }
  void keep(std::shared_ptr<engine::Executor> executor) {
    const std::lock_guard lock(mutex_);
    executors_.push_back(std::move(executor));
  }
  std::vector<std::shared_ptr<engine::Executor>> executors() {
    const std::lock_guard lock(mutex_);
    return executors_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, int> counts_;
  std::vector<std::shared_ptr<engine::Executor>> executors_;
};

/// Answers each body message by what its text says; echoes any other.
class ScriptStream final : public engine::ServerStream {
 public:
  ScriptStream(engine::Sink& sink, const engine::StreamFacts& facts, Events& events)
      : sink_(sink), peer_(facts.peer), executor_(sink.executor()), events_(events) {
    for (const auto& [name, value] : facts.metadata) metadata_.emplace_back(name, value);
  }
  ~ScriptStream() override { events_.add("destroyed"); }

  void receive(engine::Message message) override {
    events_.add("received");
    ProcessingRequest request;
    request.ParseFromArray(message.bytes().data(), static_cast<int>(message.bytes().size()));
    const std::string& text = request.request_body().body();
    if (text == "fail") {
      sink_.finish(absl::Status(absl::StatusCode::kAborted, "as you wish"));
    } else if (text == "flood") {
      for (int i = 0; i < 64; ++i) reply(std::string(1 << 20, 'x'));
    } else if (text == "post") {
      events_.keep(executor_);
      for (int i = 0; i < 10; ++i) {
        std::thread([this, i] { executor_->post([this, i] { reply(std::to_string(i)); }); }).join();
      }
    } else if (text == "hold") {
      hold_ = true;
      reply(text);
    } else if (text == "peer") {
      reply(peer_);
    } else if (text == "metadata") {
      for (const auto& [name, value] : metadata_) {
        if (name == "x-chain") reply(value);
      }
    } else {
      reply(text);
    }
  }
  void half_closed() override {
    events_.add("half_closed");
    if (!hold_) sink_.finish(absl::OkStatus());
  }
  void cancelled(engine::Cancel by) override {
    events_.add(by == engine::Cancel::kShutdown ? "shut down" : "cancelled");
  }

 private:
  void reply(const std::string& text) {
    ProcessingResponse response;
    response.mutable_immediate_response()->set_body(text);
    sink_.send(response.SerializeAsString());
  }

  engine::Sink& sink_;
  std::string peer_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::shared_ptr<engine::Executor> executor_;
  Events& events_;
  bool hold_ = false;  // do not finish at the peer's half-close
};

class ScriptFactory final : public engine::StreamFactory {
 public:
  explicit ScriptFactory(Events& events) : events_(events) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts& facts) override {
    return std::make_unique<ScriptStream>(sink, facts, events_);
  }

 private:
  Events& events_;
};

ProcessingRequest body(const std::string& text) {
  ProcessingRequest request;
  request.mutable_request_body()->set_body(text);
  return request;
}

/// What holds for every transport.
class TransportTest : public testing::TestWithParam<config::Transport> {
 protected:
  static config::Server listening_on(const std::string& address) {
    config::Server config;
    config.listen = {address};
    return config;
  }

  absl::StatusOr<std::unique_ptr<Server>> try_to_start(config::Server config) {
    config.transport = GetParam();
    config.threads = 2;
    return server::start_transport(config, registry_, metrics_, services_);
  }

  void start(const config::Server& config = listening_on("127.0.0.1:0")) {
    services_.add(std::string(Services::kProcess), std::make_unique<ScriptFactory>(events_));
    add_health_service(services_, health_);
    add_reflection_service(services_);
    health_.set_serving(true);
    auto server = try_to_start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel_ =
        grpc::CreateCustomChannel(server_->addresses().at(0), grpc::InsecureChannelCredentials(), arguments);
    stub_ = ExternalProcessor::NewStub(channel_);
  }

  template <typename Request, typename Response>
  grpc::Status call(const std::string& path, const Request& request, Response& response) {
    grpc::TemplatedGenericStub<Request, Response> stub(channel_);
    grpc::ClientContext context;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, path, {}, &request, &response,
                   [&](grpc::Status status) { done.set_value(status); });
    return done.get_future().get();
  }

  /// Drains on a thread of its own; returns when the drain has begun.
  std::future<Server::Drained> drain(std::chrono::seconds deadline) {
    auto drained = std::async(std::launch::async, [this, deadline] { return server_->drain(deadline); });
    while (probe(server_->addresses().at(0))
               .ok()) {  // on a connection of its own each time: refused from then on
    }
    return drained;
  }

  telemetry::Registry registry_{4};
  telemetry::Metrics metrics_{registry_};
  Events events_;
  HealthState health_;
  Services services_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ExternalProcessor::Stub> stub_;
};

TEST_P(TransportTest, messages_go_through_in_order_and_half_close_ends_the_stream) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ProcessingResponse response;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream->Write(body(std::to_string(i))));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.immediate_response().body(), std::to_string(i));
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(events_.wait_for("destroyed", 1));
  EXPECT_EQ(events_.count("half_closed"), 1);
  EXPECT_EQ(events_.count("cancelled"), 0);
}

TEST_P(TransportTest, many_streams_at_once_do_not_hold_each_other_up) {
  start();
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<ProcessingRequest, ProcessingResponse>>> streams;
  constexpr int kStreams = 1000;
  for (int i = 0; i < kStreams; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub_->Process(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(body(std::to_string(i))));
  }
  for (int i = kStreams - 1; i >= 0; --i) {  // the last first: none waits for an earlier one
    ProcessingResponse response;
    auto& stream = streams[static_cast<std::size_t>(i)];
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.immediate_response().body(), std::to_string(i));
  }
  for (auto& stream : streams) {
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  EXPECT_TRUE(events_.wait_for("destroyed", kStreams));
}

TEST_P(TransportTest, messages_beyond_grpcs_own_default_limit_pass) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  const std::string large(10 << 20, 'x');
  ASSERT_TRUE(stream->Write(body(large)));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.immediate_response().body().size(), large.size());
}

TEST_P(TransportTest, a_message_over_the_limit_ends_its_stream) {
  config::Server config = listening_on("127.0.0.1:0");
  config.limits.max_message_size = 1000;
  start(config);
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  stream->Write(body(std::string(2000, 'x')));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(events_.wait_for("destroyed", 1));
  EXPECT_EQ(events_.count("received"), 0);
}

TEST_P(TransportTest, a_stream_ends_with_the_status_that_it_was_given) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("fail")));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "as you wish");
}

TEST_P(TransportTest, a_cancel_is_told_once) {
  start();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const auto stream = stub_->Process(&context);
    ASSERT_TRUE(stream->Write(body("a")));
    ProcessingResponse response;
    ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ASSERT_TRUE(events_.wait_for("destroyed", 20));
  EXPECT_EQ(events_.count("cancelled"), 20);
  EXPECT_EQ(events_.count("half_closed"), 0);
}

TEST_P(TransportTest, a_passed_deadline_of_the_client_is_a_cancel) {
  start();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  const auto stream = stub_->Process(&context);
  stream->Write(body("a"));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(events_.wait_for("destroyed", 1));
  EXPECT_EQ(events_.count("cancelled"), 1);
  EXPECT_EQ(events_.count("half_closed"), 0);
}

TEST_P(TransportTest, a_lost_connection_is_a_cancel) {
  start();
  {
    // A channel with a connection of its own, which closes with it.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto channel =
        grpc::CreateCustomChannel(server_->addresses().at(0), grpc::InsecureChannelCredentials(), arguments);
    grpc::ClientContext context;
    const auto stream = ExternalProcessor::NewStub(channel)->Process(&context);
    ASSERT_TRUE(stream->Write(body("a")));
    ProcessingResponse response;
    ASSERT_TRUE(stream->Read(&response));
  }
  ASSERT_TRUE(events_.wait_for("destroyed", 1));
  EXPECT_EQ(events_.count("cancelled"), 1);
  EXPECT_EQ(events_.count("half_closed"), 0);
}

TEST_P(TransportTest, a_cancel_behind_a_half_close_is_told_once) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("hold")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  stream->WritesDone();
  ASSERT_TRUE(events_.wait_for("half_closed", 1));
  context.TryCancel();
  stream->Finish();
  ASSERT_TRUE(events_.wait_for("destroyed", 1));
  EXPECT_EQ(events_.count("half_closed"), 1);
  EXPECT_EQ(events_.count("cancelled"), 1);
}

TEST_P(TransportTest, posted_work_runs_in_order_and_not_after_the_streams_end) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("post")));
  ProcessingResponse response;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.immediate_response().body(), std::to_string(i));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_TRUE(events_.wait_for("destroyed", 1));
  const auto executor = events_.executors().at(0);
  executor->post([this] { events_.add("late"); });
  server_.reset();
  executor->post([this] { events_.add("late"); });
  EXPECT_EQ(events_.count("late"), 0);
}

TEST_P(TransportTest, work_may_be_posted_while_streams_end) {
  start();
  std::atomic<bool> stop{false};
  std::thread poster([&] {
    while (!stop) {
      const auto executors = events_.executors();
      if (!executors.empty()) executors.back()->post([this] { events_.add("ran"); });
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    const auto stream = stub_->Process(&context);
    ASSERT_TRUE(stream->Write(body("post")));
    ProcessingResponse response;
    ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(events_.wait_for("destroyed", 50));
  server_.reset();
  stop = true;
  poster.join();
}

TEST_P(TransportTest, the_peer_is_named_without_escapes) {
  const std::string loopback = "[::1]:0";
  if (!try_to_start(listening_on(loopback)).ok()) GTEST_SKIP() << "no IPv6 here";
  start(listening_on(loopback));
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("peer")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(response.immediate_response().body(), testing::StartsWith("ipv6:[::1]:"));
}

TEST_P(TransportTest, all_interfaces_can_be_listened_on_and_probed) {
  start(listening_on("[::]:0"));
  EXPECT_TRUE(probe(server_->addresses().at(0)).ok());
}

TEST_P(TransportTest, a_client_that_does_not_read_is_not_read_from) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("flood")));
  ASSERT_TRUE(events_.wait_for("received", 1));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream->Write(body("after")));
  ProcessingResponse response;
  // What other streams send behind that on the same connection is answered: the server has seen it all.
  constexpr int kOthers = 20;
  for (int i = 0; i < kOthers; ++i) {
    grpc::ClientContext other_context;
    const auto other = stub_->Process(&other_context);
    ASSERT_TRUE(other->Write(body("other")));
    ASSERT_TRUE(other->Read(&response));
    other->WritesDone();
    EXPECT_TRUE(other->Finish().ok());
  }
  // 64 MiB wait to be sent on the first stream: what came behind still lies in the transport.
  EXPECT_EQ(events_.count("received"), 1 + kOthers);
  for (int i = 0; i < 64 + 10; ++i) ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(events_.count("received"), 1 + kOthers + 10);
}

TEST_P(TransportTest, metadata_reaches_the_stream) {
  start();
  grpc::ClientContext context;
  context.AddMetadata("x-chain", "strict");
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("metadata")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.immediate_response().body(), "strict");
}

TEST_P(TransportTest, a_method_that_nobody_serves_is_unimplemented) {
  start();
  ProcessingRequest request;
  ProcessingResponse response;
  const grpc::Status status = call("/some.Service/Method", request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("/some.Service/Method"));
}

TEST_P(TransportTest, a_drain_lets_open_streams_finish) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("a")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  auto drained = drain(std::chrono::seconds(20));
  ASSERT_TRUE(stream->Write(body("b")));
  ASSERT_TRUE(stream->Read(&response));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  const auto result = drained.get();
  EXPECT_GE(result.finished, 1U);
  EXPECT_EQ(result.cancelled, 0U);
}

TEST_P(TransportTest, a_drain_refuses_new_streams) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("a")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  auto drained = drain(std::chrono::seconds(20));
  // Connections are refused before GOAWAY goes out on those that there are.
  bool refused = false;
  while (!refused) {
    grpc::ClientContext late;
    const auto one = stub_->Process(&late);
    one->WritesDone();
    refused = !one->Finish().ok();
  }
  EXPECT_EQ(events_.count("received"), 1);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  drained.get();
}

TEST_P(TransportTest, a_drain_does_not_wait_for_a_peer_that_stays_silent) {
  const std::string path = testing::TempDir() + "transport_silent.sock";
  start(listening_on("unix:" + path));
  const int peer = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  ASSERT_EQ(connect(peer, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  // HTTP/2's connection preface and empty SETTINGS; nothing is acknowledged after that.
  const std::string_view hello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  ASSERT_EQ(write(peer, hello.data(), hello.size()), static_cast<ssize_t>(hello.size()));
  char settings = 0;
  ASSERT_EQ(read(peer, &settings, 1), 1);
  auto drained = std::async(std::launch::async, [&] { return server_->drain(std::chrono::seconds(60)); });
  EXPECT_EQ(drained.wait_for(std::chrono::seconds(15)), std::future_status::ready);
  close(peer);
}

TEST_P(TransportTest, a_drain_leaves_the_socket_of_the_next_server_alone) {
  const std::string path = testing::TempDir() + "transport_next.sock";
  start(listening_on("unix:" + path));
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("a")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  auto drained = drain(std::chrono::seconds(20));
  while (access(path.c_str(), F_OK) == 0) {  // it goes when the server has stopped listening
  }
  const auto next = try_to_start(listening_on("unix:" + path));
  ASSERT_TRUE(next.ok()) << next.status();
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  drained.get();
  EXPECT_EQ(probe("unix:" + path), absl::OkStatus());
}

TEST_P(TransportTest, a_drain_does_not_wait_for_health_watches) {
  start();
  grpc::TemplatedGenericStub<grpc::health::v1::HealthCheckRequest, grpc::health::v1::HealthCheckResponse>
      stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  const auto watch = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  watch->StartCall(nullptr);
  ASSERT_TRUE(next());
  watch->Write({}, nullptr);
  ASSERT_TRUE(next());
  grpc::health::v1::HealthCheckResponse response;
  watch->Read(&response, nullptr);
  ASSERT_TRUE(next());
  const auto result = server_->drain(std::chrono::seconds(5));
  EXPECT_EQ(result.cancelled, 0U);
  watch->Read(&response, nullptr);
  EXPECT_FALSE(next());
  grpc::Status status;
  watch->Finish(&status, nullptr);
  next();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_P(TransportTest, a_drain_cancels_what_is_open_at_the_deadline) {
  start();
  grpc::ClientContext context;
  const auto stream = stub_->Process(&context);
  ASSERT_TRUE(stream->Write(body("a")));
  ProcessingResponse response;
  ASSERT_TRUE(stream->Read(&response));
  const auto result = server_->drain(std::chrono::milliseconds(50));
  EXPECT_EQ(result.cancelled, 1U);
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_EQ(events_.count("shut down"), 1);
  EXPECT_EQ(events_.count("destroyed"), 1);
}

TEST_P(TransportTest, unix_sockets_serve_and_are_removed) {
  const std::string path = testing::TempDir() + "transport_test.sock";
  unlink(path.c_str());
  start(listening_on("unix:" + path));
  EXPECT_TRUE(probe("unix:" + path).ok());
  EXPECT_THAT(std::string(try_to_start(listening_on("unix:" + path)).status().message()),
              HasSubstr("another server"));
  server_.reset();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_P(TransportTest, a_stale_unix_socket_is_replaced_but_no_other_file) {
  const std::string path = testing::TempDir() + "transport_stale.sock";
  unlink(path.c_str());
  const int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  close(stale);
  start(listening_on("unix:" + path));
  EXPECT_TRUE(probe("unix:" + path).ok());
  const std::string file = testing::TempDir() + "transport_file";
  std::ofstream(file) << "precious";
  EXPECT_THAT(std::string(try_to_start(listening_on("unix:" + file)).status().message()),
              HasSubstr("no socket"));
  EXPECT_EQ(access(file.c_str(), F_OK), 0);
  unlink(file.c_str());
}

TEST_P(TransportTest, a_unix_socket_that_cannot_be_made_is_named_with_the_cause) {
  EXPECT_THAT(std::string(try_to_start(listening_on("unix:/no/such/folder/socket")).status().message()),
              testing::AllOf(HasSubstr("unix:/no/such/folder/socket"), HasSubstr("No such file")));
}

TEST_P(TransportTest, a_busy_port_is_named_with_the_cause) {
  start();
  const auto second = try_to_start(listening_on(server_->addresses().at(0)));
  EXPECT_THAT(std::string(second.status().message()),
              testing::AllOf(HasSubstr(server_->addresses().at(0)), HasSubstr("in use")));
}

TEST_P(TransportTest, health_answers_for_any_name_and_follows_the_state) {
  start();
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  for (const std::string name : {"", "envoy.service.ext_proc.v3.ExternalProcessor", "anything"}) {
    request.set_service(name);
    ASSERT_TRUE(call("/grpc.health.v1.Health/Check", request, response).ok());
    EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  }
  grpc::health::v1::HealthListResponse list;
  ASSERT_TRUE(call("/grpc.health.v1.Health/List", grpc::health::v1::HealthListRequest(), list).ok());
  EXPECT_EQ(list.statuses().at("").status(), grpc::health::v1::HealthCheckResponse::SERVING);
  health_.set_serving(false);
  ASSERT_TRUE(call("/grpc.health.v1.Health/Check", request, response).ok());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(std::string(probe(server_->addresses().at(0)).message()), HasSubstr("NOT_SERVING"));
}

TEST_P(TransportTest, a_health_watch_is_told_every_change) {
  start();
  using Response = grpc::health::v1::HealthCheckResponse;
  grpc::TemplatedGenericStub<grpc::health::v1::HealthCheckRequest, Response> stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  const auto watch = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  watch->StartCall(nullptr);
  ASSERT_TRUE(next());
  watch->Write({}, nullptr);
  ASSERT_TRUE(next());
  Response response;
  watch->Read(&response, nullptr);
  ASSERT_TRUE(next());
  EXPECT_EQ(response.status(), Response::SERVING);
  for (const bool serving : {false, true, false}) {
    health_.set_serving(serving);
    watch->Read(&response, nullptr);
    ASSERT_TRUE(next());
    EXPECT_EQ(response.status(), serving ? Response::SERVING : Response::NOT_SERVING);
  }
  context.TryCancel();
  grpc::Status status;
  watch->Finish(&status, nullptr);
  next();
  health_.set_serving(true);  // nobody listens any more
}

TEST_P(TransportTest, reflection_lists_services_and_hands_out_their_files) {
  start();
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;
  const auto ask = [&](const Request& request) {
    grpc::TemplatedGenericStub<Request, Response> stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    const auto stream =
        stub.PrepareCall(&context, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &queue);
    stream->StartCall(nullptr);
    EXPECT_TRUE(next());
    stream->Write(request, nullptr);
    EXPECT_TRUE(next());
    Response response;
    stream->Read(&response, nullptr);
    EXPECT_TRUE(next());
    stream->WritesDone(nullptr);
    next();
    grpc::Status status;
    stream->Finish(&status, nullptr);
    next();
    EXPECT_TRUE(status.ok());
    return response;
  };
  Request request;
  request.set_list_services("");
  EXPECT_EQ(ask(request).list_services_response().service_size(), 4);
  request.set_file_containing_symbol("envoy.service.ext_proc.v3.ExternalProcessor");
  EXPECT_GE(ask(request).file_descriptor_response().file_descriptor_proto_size(), 5);
  request.set_file_by_filename("grpc/health/v1/health.proto");
  EXPECT_EQ(ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  request.set_file_by_filename("none.proto");
  EXPECT_EQ(ask(request).error_response().error_code(), 5);
  request.set_all_extension_numbers_of_type("google.protobuf.MessageOptions");
  EXPECT_EQ(ask(request).all_extension_numbers_response().base_type_name(), "google.protobuf.MessageOptions");
  request.mutable_file_containing_extension()->set_containing_type("google.protobuf.MessageOptions");
  request.mutable_file_containing_extension()->set_extension_number(77777);
  EXPECT_EQ(ask(request).error_response().error_code(), 5);
}

INSTANTIATE_TEST_SUITE_P(Each, TransportTest,
                         testing::Values(config::Transport::kGrpc, config::Transport::kNative),
                         [](const auto& transport) {
                           return std::string(config::to_string(transport.param));
                         });

TEST(Probe, says_what_is_wrong) {
  EXPECT_FALSE(probe("nonsense").ok());
  EXPECT_FALSE(probe("127.0.0.1:1").ok());
}

}  // namespace
}  // namespace extprocd::transport
