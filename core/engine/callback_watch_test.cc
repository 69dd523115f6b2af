#include "core/engine/callback_watch.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using testing::ElementsAre;

/// "plugin phase" of every callback that runs.
std::vector<std::string> running() {
  std::vector<std::string> texts;
  for (const RunningCallback& callback : running_callbacks()) {
    texts.push_back(callback.plugin + " " + std::string(callback_name(callback.phase)));
  }
  return texts;
}

class CallbackWatchTest : public EngineFixture {};

TEST_F(CallbackWatchTest, outside_of_callbacks_nothing_runs_and_inside_it_is_known_what_does) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS, EXTPROC_REQUEST_BODY});
  {
    const CallbackScope scope(*plugin.host, EXTPROC_REQUEST_BODY);
    EXPECT_THAT(running(), ElementsAre("p request_body"));
  }
  EXPECT_THAT(running(), ElementsAre());
}

TEST_F(CallbackWatchTest, a_callback_is_told_from_a_later_one_like_it) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  std::vector<RunningCallback> seen;
  for (int i = 0; i < 2; ++i) {
    const CallbackScope scope(*plugin.host, EXTPROC_REQUEST_HEADERS);
    seen.push_back(running_callbacks().at(0));
  }
  EXPECT_EQ(seen[0].thread, seen[1].thread);
  EXPECT_NE(seen[0].call, seen[1].call);
  // No signal goes to a thread that is not in the callback any more.
  EXPECT_FALSE(signal_callback(seen[1], SIGURG, 0));
}

TEST_F(CallbackWatchTest, a_thread_that_has_ended_is_not_watched_any_more) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  RunningCallback seen;
  std::thread([&] {
    // It ends inside the callback, as far as anybody can tell.
    alignas(CallbackScope) std::array<std::byte, sizeof(CallbackScope)> place;
    new (place.data()) CallbackScope(*plugin.host, EXTPROC_REQUEST_HEADERS);
    seen = running_callbacks().at(0);
  }).join();
  EXPECT_THAT(running(), ElementsAre());
  EXPECT_FALSE(signal_callback(seen, SIGURG, 0));
}

TEST_F(CallbackWatchTest, a_thread_for_callbacks_that_block_is_not_watched) {
  auto& plugin = add_plugin("p", {EXTPROC_REQUEST_HEADERS});
  std::thread([&] {
    leave_thread_unwatched();
    const CallbackScope scope(*plugin.host, EXTPROC_REQUEST_HEADERS);
    EXPECT_THAT(running(), ElementsAre());
  }).join();
}

TEST_F(CallbackWatchTest, hosts_may_go_while_others_look) {
  std::atomic<bool> stop{false};
  std::thread watcher([&] {
    while (!stop) {
      for (const RunningCallback& callback : running_callbacks()) EXPECT_EQ(callback.plugin, "short-lived");
    }
  });
  config::Plugin entry;
  entry.name = "short-lived";
  for (int i = 0; i < 2000; ++i) {
    auto host = std::make_unique<PluginHost>(entry, "", "test", 0, registry_);
    const CallbackScope scope(*host, EXTPROC_REQUEST_HEADERS);
  }
  stop = true;
  watcher.join();
}

}  // namespace
}  // namespace extprocd::engine
