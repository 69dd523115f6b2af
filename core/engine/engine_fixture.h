#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <extproc/abi.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "core/engine/stream.h"

// For tests: streams of the engine without a transport, with plugins that are lambdas behind the C contract.
namespace extprocd::engine {

using envoy::service::ext_proc::v3::ProcessingRequest;
using envoy::service::ext_proc::v3::ProcessingResponse;

/// A plugin whose callbacks are functions of the test.
struct ScriptedPlugin {
  std::function<extproc_action(extproc_call*, uint32_t phase, uint32_t flags)> on_phase;
  std::function<extproc_action(extproc_call*)> on_begin;
  std::function<extproc_action(extproc_call*, uint32_t phase, uint64_t token)> on_resumed;
  std::function<void(extproc_call*, uint32_t reason)> on_cancelled;
  std::function<void(extproc_call*, const extproc_stream_end&)> on_end;

  extproc_plugin descriptor{};
  std::unique_ptr<PluginHost> host;

  /// The table that the plugin calls the host through.
  const extproc_host& api() const { return *host->table(); }
  const extproc_async_api& async() const {
    return *static_cast<const extproc_async_api*>(api().get_extension(&api(), EXTPROC_ASYNC_1));
  }
  extproc_status resume(extproc_resume_handle handle, uint64_t token = 0) const {
    return async().resume(&api(), handle, token);
  }
};

/// What a plugin does with bodies.
struct BodyOptions {
  uint32_t access = EXTPROC_ACCESS_NONE;
  uint64_t most = 1ULL << 20;
  const char* const* types = nullptr;
  config::PhaseTimeouts timeouts{};
  config::Quarantine quarantine{};
  WorkerPool* workers = nullptr;
};

/// Keeps what is posted, from whatever thread, until the test wants it done.
class ManualExecutor final : public Executor {
 public:
  void post(std::function<void()> work) override {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    came_.notify_all();
  }
  /// What came first; nothing if there is none.
  std::function<void()> take() {
    const std::lock_guard lock(mutex_);
    if (posted_.empty()) return nullptr;
    auto work = std::move(posted_.front());
    posted_.pop_front();
    return work;
  }
  /// Waits until something is there.
  void wait() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return !posted_.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::function<void()>> posted_;
};

/// Keeps what a stream sends, and the time, which only the test moves on.
class RecordingSink final : public Sink {
 public:
  void send(const wire::Pieces& message) override {
    EXPECT_FALSE(status) << "a message after finish";
    ProcessingResponse reply;
    EXPECT_TRUE(reply.ParseFromString(message.joined()));
    replies.push_back(std::move(reply));
  }
  void finish(const absl::Status& end) override {
    EXPECT_FALSE(status) << "finished twice";
    status = end;
  }
  std::shared_ptr<Executor> executor() override { return executor_; }
  void pause_reading() override {
    EXPECT_FALSE(paused) << "paused twice";
    paused = true;
  }
  void resume_reading() override {
    EXPECT_TRUE(paused) << "resumed, but was not paused";
    paused = false;
  }
  void set_timer(std::optional<Clock::time_point> at) override { timer = at; }
  [[nodiscard]] Clock::time_point now() const override { return time; }

  std::shared_ptr<ManualExecutor> executor_ = std::make_shared<ManualExecutor>();
  bool paused = false;
  std::optional<Clock::time_point> timer;
  Clock::time_point time{std::chrono::hours(1)};

  std::vector<ProcessingResponse> replies;
  std::optional<absl::Status> status;
};

inline extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }

class EngineFixture : public testing::Test {
 protected:
  EngineFixture() { begin_anew(); }
  ~EngineFixture() override { stream_.reset(); }

  /// A generation without plugins, and no stream yet.
  void begin_anew(const config::DataPlane& data_plane = {}, Duration deadline = {}) {
    stream_.reset();
    sink_ = {};
    generation_ = std::make_shared<Generation>();
    generation_->metrics = &metrics_;
    generation_->chains.add(
        std::make_unique<Chain>("default", config::ResponseOrder::kReverse, data_plane, deadline));
  }

  /// The chain that streams get where nothing else is said.
  Chain& default_chain() { return *generation_->chains.entries()[0].chain; }

  /// Adds a plugin to the end of a chain (the default one, if none is given); before the first send().
  ScriptedPlugin& add_plugin(std::string name, const std::vector<uint32_t>& phases,
                             config::FailurePolicy on_error = config::FailurePolicy::kFail,
                             const config::When* when = nullptr, Chain* chain = nullptr,
                             const BodyOptions& body = {}) {
    if (chain == nullptr) chain = &default_chain();
    ScriptedPlugin& plugin = plugins_.emplace_back();
    extproc_plugin& descriptor = plugin.descriptor;
    descriptor.struct_size = sizeof descriptor;
    descriptor.id = "test.scripted";
    descriptor.version = "1";
    for (const uint32_t phase : phases) descriptor.phases |= EXTPROC_PHASE_BIT(phase);
    if ((descriptor.phases & EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY)) != 0)
      descriptor.request_body_access = body.access;
    if ((descriptor.phases & EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY)) != 0)
      descriptor.response_body_access = body.access;
    descriptor.request_body_types = body.types;
    descriptor.response_body_types = body.types;
    descriptor.stream_state_size = 24;
    descriptor.stream_state_align = 8;
    descriptor.stream_begin = [](void* instance, void*, extproc_call* call,
                                 const extproc_stream_facts*) -> extproc_action {
      auto& self = *static_cast<ScriptedPlugin*>(instance);
      return self.on_begin ? self.on_begin(call) : EXTPROC_CONTINUE;
    };
    descriptor.on_phase = [](void* instance, void*, extproc_call* call, uint32_t phase,
                             uint32_t flags) -> extproc_action {
      auto& self = *static_cast<ScriptedPlugin*>(instance);
      return self.on_phase ? self.on_phase(call, phase, flags) : EXTPROC_CONTINUE;
    };
    descriptor.stream_end = [](void* instance, void*, extproc_call* call, const extproc_stream_end* end) {
      auto& self = *static_cast<ScriptedPlugin*>(instance);
      if (self.on_end) self.on_end(call, *end);
    };
    descriptor.on_resumed = [](void* instance, void*, extproc_call* call, uint32_t phase, uint32_t,
                               uint64_t token) -> extproc_action {
      auto& self = *static_cast<ScriptedPlugin*>(instance);
      return self.on_resumed ? self.on_resumed(call, phase, token) : EXTPROC_CONTINUE;
    };
    descriptor.on_cancelled = [](void* instance, void*, extproc_call* call, uint32_t, uint32_t reason) {
      auto& self = *static_cast<ScriptedPlugin*>(instance);
      if (self.on_cancelled) self.on_cancelled(call, reason);
    };
    config::Plugin entry;
    entry.name = std::move(name);
    entry.quarantine = body.quarantine;
    plugin.host =
        std::make_unique<PluginHost>(entry, "test.toml", descriptor.id, descriptor.phases, registry_);
    chain->add(descriptor, &plugin, *plugin.host,
               {.on_error = on_error,
                .deny_status = 503,
                .when = when,
                .max_body_bytes = body.most,
                .timeouts = body.timeouts,
                .workers = body.workers});
    return plugin;
  }

  Stream& stream() {
    if (!stream_) {
      StreamFacts facts;
      facts.peer = "ipv4:127.0.0.1:4711";
      const std::vector<MetadataEntry> metadata(grpc_metadata_.begin(), grpc_metadata_.end());
      facts.metadata = metadata;
      stream_ = std::make_unique<Stream>(generation_, sink_, facts, 42);
    }
    return *stream_;
  }

  /// Sends a ProcessingRequest given in protobuf's text format.
  void send(const std::string& text) {
    ProcessingRequest request;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
    send(request);
  }
  void send(const ProcessingRequest& request) {
    std::string bytes = request.SerializeAsString();
    stream().receive(Message::borrow(bytes));
    bytes.assign(bytes.size(), '?');  // it was lent for the call only
  }

  /// Runs what was posted to the stream's thread, which does not live longer than the stream.
  void run_posted() {
    while (const auto work = sink_.executor_->take()) {
      if (!sink_.status) work();
    }
  }
  /// Moves the time on, and lets the stream's timer fire when it has come.
  void advance(Duration by) {
    const Clock::time_point until = sink_.time + by;
    while (sink_.timer && *sink_.timer <= until && !sink_.status) {
      sink_.time = std::max(sink_.time, *sink_.timer);
      sink_.timer.reset();
      stream().timer_fired();
    }
    sink_.time = until;
  }

  /// Were exactly these replies sent since the last call? In protobuf's text format.
  void expect_replies(const std::vector<std::string>& texts) {
    ASSERT_EQ(sink_.replies.size(), texts.size()) << described();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      ProcessingResponse expected;
      ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(texts[i], &expected)) << texts[i];
      EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(expected, sink_.replies[i]))
          << "expected " << expected.ShortDebugString() << "\n     got "
          << sink_.replies[i].ShortDebugString();
    }
    sink_.replies.clear();
  }

  std::string described() const {
    std::string all;
    for (const auto& reply : sink_.replies) all += "  got " + reply.ShortDebugString() + "\n";
    return all;
  }

  static double value_of(const telemetry::Counter& counter) { return static_cast<double>(counter.value()); }

  std::vector<std::pair<std::string, std::string>> grpc_metadata_ = {{"x-extproc-tenant", "acme"}};
  telemetry::Registry registry_{2};
  telemetry::Metrics metrics_{registry_};
  std::deque<ScriptedPlugin> plugins_;
  std::shared_ptr<Generation> generation_;
  RecordingSink sink_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace extprocd::engine
