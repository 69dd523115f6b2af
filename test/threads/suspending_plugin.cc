#include "test/threads/suspending_plugin.h"

#include <chrono>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "core/telemetry/log.h"

namespace extprocd::test {
namespace {

constexpr int kThreads = 3;

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }

std::uint64_t nanoseconds(std::chrono::nanoseconds time) { return static_cast<std::uint64_t>(time.count()); }

}  // namespace

SuspendingPlugin::SuspendingPlugin(telemetry::Registry& registry) {
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.id = "test.suspending";
  descriptor_.version = "1";
  descriptor_.phases =
      EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS);
  descriptor_.stream_state_size = sizeof(State);
  descriptor_.stream_state_align = alignof(State);
  descriptor_.stream_begin = [](void* self, void* state, extproc_call*,
                                const extproc_stream_facts*) -> extproc_action {
    *static_cast<State*>(state) = {};
    ++static_cast<SuspendingPlugin*>(self)->begun;
    return EXTPROC_CONTINUE;
  };
  descriptor_.on_phase = [](void* self, void* state, extproc_call* call, uint32_t, uint32_t) {
    return static_cast<SuspendingPlugin*>(self)->wait(*static_cast<State*>(state), call);
  };
  descriptor_.on_resumed = [](void* self, void* state, extproc_call* call, uint32_t phase, uint32_t,
                              uint64_t) {
    return static_cast<SuspendingPlugin*>(self)->go_on(*static_cast<State*>(state), call, phase);
  };
  descriptor_.on_cancelled = [](void* self, void* state, extproc_call*, uint32_t, uint32_t) {
    EXPECT_TRUE(std::exchange(static_cast<State*>(state)->waits, false));
    ++static_cast<SuspendingPlugin*>(self)->cancelled;
  };
  descriptor_.stream_end = [](void* self, void* state, extproc_call*, const extproc_stream_end*) {
    EXPECT_FALSE(static_cast<State*>(state)->waits);
    ++static_cast<SuspendingPlugin*>(self)->ended;
  };
  config::Plugin entry;
  entry.name = "suspending";
  host_ = std::make_unique<engine::PluginHost>(entry, "", descriptor_.id, descriptor_.phases, registry);
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { resume_all(); });
}

SuspendingPlugin::~SuspendingPlugin() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

const extproc_async_api& SuspendingPlugin::async() const {
  const extproc_host& host = *host_->table();
  return *static_cast<const extproc_async_api*>(host.get_extension(&host, EXTPROC_ASYNC_1));
}

extproc_action SuspendingPlugin::wait(State& state, extproc_call* call) {
  EXPECT_FALSE(std::exchange(state.waits, true));
  ++state.calls;
  extproc_resume_handle handle = 0;
  EXPECT_EQ(async().suspend(call, &handle), EXTPROC_OK);
  ++suspended;
  enum Way : std::uint8_t { kThread, kTimer, kBoth, kAtOnce, kSoonTimer, kNobody, kCount };
  const auto way = static_cast<Way>(ways_++ % (kCount + 2));  // mostly by threads
  const bool by_timer = way == kTimer || way == kBoth || way == kSoonTimer;
  if (by_timer) {
    const auto delay = way == kSoonTimer ? std::chrono::microseconds(0) : std::chrono::microseconds(300);
    EXPECT_EQ(async().resume_after(call, handle, nanoseconds(delay), 1), EXTPROC_OK);
  }
  if (way == kAtOnce) {
    EXPECT_EQ(async().resume(host_->table(), handle, 2), EXTPROC_OK);
  }
  if (way == kTimer || way == kSoonTimer || way == kNobody) return EXTPROC_SUSPEND;
  {
    const std::lock_guard lock(mutex_);
    to_resume_.push_back(handle);
  }
  changed_.notify_one();
  return EXTPROC_SUSPEND;
}

extproc_action SuspendingPlugin::go_on(State& state, extproc_call* call, std::uint32_t phase) {
  EXPECT_TRUE(std::exchange(state.waits, false));
  ++resumed;
  if (state.calls % 3 == 0) return wait(state, call);
  const extproc_host& host = *host_->table();
  EXPECT_EQ(host.header_set(call, phase, abi("waited"), abi("1")), EXTPROC_OK);
  return EXTPROC_CONTINUE;
}

/// A thread's work: each handle is resumed, and long after that again.
void SuspendingPlugin::resume_all() {
  std::deque<extproc_resume_handle> old;
  constexpr std::size_t kOld = 20;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return over_ || !to_resume_.empty(); });
    if (over_) return;
    const extproc_resume_handle handle = to_resume_.front();
    to_resume_.pop_front();
    lock.unlock();
    async().resume(host_->table(), handle, 3);
    old.push_back(handle);
    if (old.size() > kOld) {
      EXPECT_EQ(async().is_waiting(host_->table(), old.front()), 0U);
      EXPECT_EQ(async().resume(host_->table(), old.front(), 4), EXTPROC_NOT_FOUND);
      old.pop_front();
    }
    lock.lock();
  }
}

SuspendingGeneration::SuspendingGeneration() {
  telemetry::init_log("error", "text");  // plugins time out on purpose
  constexpr double kSoon = 0.005;
  config::PhaseTimeouts timeouts{};
  timeouts.fill(kSoon);
  generation_->metrics = &metrics_;
  engine::Chain& chain = generation_->chains.add(std::make_unique<engine::Chain>("default"));
  chain.add(plugin_.descriptor(), &plugin_, plugin_.host(),
            {.on_error = config::FailurePolicy::kSkip, .timeouts = timeouts});
}

void SuspendingGeneration::expect_nothing_is_left() {
  EXPECT_EQ(metrics_.streams_active.value(), 0);
  EXPECT_EQ(metrics_.waiting.value(), 0);
  const auto& of_plugin = plugin_.host().metrics();
  EXPECT_EQ(of_plugin.waiting->value(), 0);
  std::uint64_t waits = 0;
  for (const auto* result : of_plugin.waits) waits += result->value();
  EXPECT_EQ(waits, static_cast<std::uint64_t>(plugin_.suspended));
  EXPECT_EQ(plugin_.resumed + plugin_.cancelled, plugin_.suspended);
  EXPECT_EQ(plugin_.begun, plugin_.ended);
}

}  // namespace extprocd::test
