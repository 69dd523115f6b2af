// Plugins that may block, on the threads of a pool, while the streams that wait for them are answered, run out of time and
// are cancelled on threads of their own: code that ThreadSanitizer sees.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "core/engine/worker_pool.h"
#include "core/telemetry/metrics.h"

namespace extprocd {
namespace {

using engine::Clock;
using engine::PluginHost;
using envoy::service::ext_proc::v3::ProcessingRequest;

constexpr int kThreads = 4;
constexpr int kRounds = 25;
constexpr int kStreams = 40;  // of a thread, at once
constexpr auto kLongestCall = std::chrono::microseconds(600);

/// What is posted to the streams of one thread.
class Posted {
 public:
  void push(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    work_.push_back(std::move(work));
    came_.notify_one();
  }
  /// Drops what is left and what still comes, which holds this.
  void close() {
    std::deque<std::function<void()>> dropped;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    dropped.swap(work_);
  }
  /// Waits a little for the next one; nothing if none comes.
  std::function<void()> take() {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, std::chrono::microseconds(50), [&] { return !work_.empty(); });
    if (work_.empty()) return nullptr;
    auto work = std::move(work_.front());
    work_.pop_front();
    return work;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::function<void()>> work_;
  bool closed_ = false;
};

/// The way back to one stream, until it is over.
class StreamExecutor final : public engine::Executor, public std::enable_shared_from_this<StreamExecutor> {
 public:
  explicit StreamExecutor(std::shared_ptr<Posted> posted) : posted_(std::move(posted)) {}
  void post(std::function<void()> work) override {
    posted_->push([self = shared_from_this(), work = std::move(work)] {
      if (!self->over) work();
    });
  }
  bool over = false;  // only on the stream's thread

 private:
  const std::shared_ptr<Posted> posted_;
};

class StreamSink final : public engine::Sink {
 public:
  explicit StreamSink(std::shared_ptr<Posted> posted)
      : executor_(std::make_shared<StreamExecutor>(std::move(posted))) {}
  void send(const wire::Pieces&) override { ++replies; }
  void finish(const absl::Status&) override { executor_->over = true; }
  std::shared_ptr<engine::Executor> executor() override { return executor_; }
  void set_timer(std::optional<Clock::time_point> time) override { timer = time; }

  [[nodiscard]] bool over() const { return executor_->over; }
  void end() { executor_->over = true; }

  int replies = 0;
  std::optional<Clock::time_point> timer;

 private:
  const std::shared_ptr<StreamExecutor> executor_;
};

/// A plugin that takes its time in every callback, and waits for its own work now and then.
class SlowPlugin {
 public:
  SlowPlugin(telemetry::Registry& registry, engine::WorkerPool& workers) {
    descriptor.struct_size = sizeof descriptor;
    descriptor.id = "test.slow";
    descriptor.version = "1";
    descriptor.phases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS);
    descriptor.stream_state_size = sizeof(State);
    descriptor.stream_state_align = alignof(State);
    descriptor.stream_begin = [](void* self, void* state, extproc_call*,
                                 const extproc_stream_facts*) -> extproc_action {
      new (state) State();
      ++of(self).begun;
      return EXTPROC_CONTINUE;
    };
    descriptor.on_phase = [](void* self, void* state, extproc_call* call, uint32_t, uint32_t) {
      return of(self).work(*static_cast<State*>(state), call, true);
    };
    descriptor.on_resumed = [](void* self, void* state, extproc_call* call, uint32_t, uint32_t, uint64_t) {
      return of(self).work(*static_cast<State*>(state), call, false);
    };
    descriptor.on_cancelled = [](void*, void* state, extproc_call*, uint32_t, uint32_t) {
      const Inside inside(*static_cast<State*>(state));
    };
    descriptor.stream_end = [](void* self, void* state, extproc_call* call, const extproc_stream_end*) {
      {
        const Inside inside(*static_cast<State*>(state));
        EXPECT_GT(of(self).header_bytes(call), 0U);
      }
      static_cast<State*>(state)->~State();
      ++of(self).ended;
    };
    config::Plugin entry;
    entry.name = "slow";
    host = std::make_unique<PluginHost>(entry, "test.toml", descriptor.id, descriptor.phases, registry,
                                        &workers);
    host->work().begin();
  }

  extproc_plugin descriptor{};
  std::unique_ptr<PluginHost> host;
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};

 private:
  struct State {
    std::atomic<bool> inside{false};
    std::vector<int> calls;  // unguarded: never two callbacks of a stream at once
  };
  struct Inside {
    explicit Inside(State& of_state) : state(of_state) {
      EXPECT_FALSE(state.inside.exchange(true)) << "two callbacks of a stream at once";
      state.calls.push_back(1);
    }
    ~Inside() { state.inside = false; }
    State& state;
  };

  static SlowPlugin& of(void* self) { return *static_cast<SlowPlugin*>(self); }
  template <typename Api>
  const Api& extension(const char* name) const {
    return *static_cast<const Api*>(host->table()->get_extension(host->table(), name));
  }

  std::size_t header_bytes(extproc_call* call) const {
    const extproc_header* entries = nullptr;
    size_t count = 0;
    EXPECT_EQ(host->table()->headers(call, EXTPROC_REQUEST_HEADERS, &entries, &count), EXTPROC_OK);
    std::size_t bytes = 0;
    for (size_t i = 0; i < count; ++i)
      bytes += std::string(entries[i].value.data, entries[i].value.size).size();
    return bytes;
  }

  extproc_action work(State& state, extproc_call* call, bool may_suspend) {
    const Inside inside(state);
    thread_local std::minstd_rand random(std::random_device{}());
    EXPECT_GT(header_bytes(call), 0U);
    std::this_thread::sleep_for(kLongestCall * (random() % 100) / 100);
    const std::string text(64, 'x');
    EXPECT_EQ(
        host->table()->header_set(call, EXTPROC_REQUEST_HEADERS, {"x-slow", 6}, {text.data(), text.size()}),
        EXTPROC_OK);
    EXPECT_GT(header_bytes(call), 64U);
    if (!may_suspend || random() % 3 != 0) return EXTPROC_CONTINUE;
    struct Resume {
      const SlowPlugin* plugin;
      extproc_resume_handle handle;
    };
    auto resume = std::make_unique<Resume>(Resume{this, 0});
    const auto& async = extension<extproc_async_api>(EXTPROC_ASYNC_1);
    if (async.suspend(call, &resume->handle) != EXTPROC_OK) return EXTPROC_CONTINUE;
    const auto go_on = [](void* data, uint32_t dropped) {
      const std::unique_ptr<Resume> task(static_cast<Resume*>(data));
      const extproc_host* const table = task->plugin->host->table();
      if (dropped == 0) {
        task->plugin->extension<extproc_async_api>(EXTPROC_ASYNC_1).resume(table, task->handle, 1);
      }
    };
    if (extension<extproc_work_api>(EXTPROC_WORK_1)
            .run(host->table(), random() % 100000, go_on, resume.get()) == EXTPROC_OK) {
      (void)resume.release();
    } else {
      async.resume(host->table(), resume->handle, 1);
    }
    return EXTPROC_SUSPEND;
  }
};

struct Done {
  std::atomic<int> answered{0};
  std::atomic<int> cancelled{0};
};

/// Some streams at once on the calling thread. Each fifth is cancelled, sooner or later.
void serve(engine::ProcessService& service, const std::string& message, Done& done) {
  const auto posted = std::make_shared<Posted>();
  struct Served {
    std::unique_ptr<StreamSink> sink;
    std::unique_ptr<engine::ServerStream> stream;
    int turns_left;
  };
  std::vector<Served> streams;
  for (int i = 0; i < kStreams; ++i) {
    auto& served = streams.emplace_back(std::make_unique<StreamSink>(posted), nullptr, i % 5 == 0 ? i : -1);
    served.stream = service.open(*served.sink, {.peer = "test"});
    served.stream->receive(engine::Message::copy(message));
  }
  const auto is_done = [](const Served& served) { return served.sink->over() || served.sink->replies > 0; };
  while (!std::ranges::all_of(streams, is_done)) {
    if (const auto work = posted->take()) work();
    for (Served& served : streams) {
      if (is_done(served)) continue;
      if (served.turns_left >= 0 && served.turns_left-- == 0) {
        served.sink->end();
        served.stream->cancelled(engine::Cancel::kPeer);
        ++done.cancelled;
        served.stream.reset();
      } else if (served.sink->timer && *served.sink->timer <= Clock::now()) {
        served.sink->timer.reset();
        served.stream->timer_fired();
      }
    }
  }
  for (Served& served : streams) {
    if (served.stream == nullptr) continue;
    EXPECT_EQ(served.sink->replies, 1);
    ++done.answered;
    served.stream->half_closed();
  }
  posted->close();
}

TEST(Blocking, streams_are_answered_once_whatever_their_slow_plugins_do_and_each_plugin_hears_of_the_end) {
  telemetry::Registry registry(8);
  const telemetry::Metrics metrics(registry);
  auto workers = std::make_unique<engine::WorkerPool>(config::Workers{6, 60}, registry);
  SlowPlugin first(registry, *workers);
  SlowPlugin second(registry, *workers);
  auto generation = std::make_shared<engine::Generation>();
  generation->metrics = &metrics;
  auto chain = std::make_unique<engine::Chain>("default");
  config::PhaseTimeouts timeouts{};
  timeouts.fill(0.002);
  for (SlowPlugin* plugin : {&first, &second}) {
    chain->add(plugin->descriptor, plugin, *plugin->host,
               {.on_error = config::FailurePolicy::kSkip, .timeouts = timeouts, .workers = workers.get()});
  }
  generation->chains.add(std::move(chain));
  Done done;
  std::atomic<int> rounds{0};
  {
    ProcessingRequest message;
    auto* header = message.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key("a");
    header->set_raw_value(std::string(100, 'a'));
    const std::string bytes = message.SerializeAsString();
    engine::ProcessService service(generation);
    generation.reset();
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        // Streams whose plugins find a full queue, or no worker in time, are quick: on a busy machine all may be.
        for (int round = 0; round < kRounds || first.begun == 0; ++round, ++rounds) {
          serve(service, bytes, done);
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  first.host->work().end();
  second.host->work().end();
  workers.reset();
  EXPECT_EQ(done.answered + done.cancelled, rounds * kStreams);
  EXPECT_EQ(metrics.streams_active.value(), 0);
  EXPECT_EQ(metrics.waiting.value(), 0);
  for (const SlowPlugin* plugin : {&first, &second}) {
    EXPECT_EQ(plugin->begun, plugin->ended);
  }
}

}  // namespace
}  // namespace extprocd
