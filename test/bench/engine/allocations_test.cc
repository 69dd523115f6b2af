#include "test/bench/engine/allocations.h"

#include <gtest/gtest.h>

#include "test/bench/engine/subject.h"

namespace extprocd::bench {
namespace {

/// Allocations of a stream that comes when all is warm.
uint64_t allocations_of_a_stream(Subject& subject) {
  subject.run(3);
  const uint64_t before = allocations().count;
  subject.run(1);
  return allocations().count - before;
}

ScriptOptions duplex(std::size_t body) {
  ScriptOptions options;
  options.profile = Profile::kDuplex;
  options.body = body;
  options.chunk = 1000;
  return options;
}

TEST(EngineAllocations, a_message_that_nobody_changes_needs_none) {
  // The stream's own: itself and its headers. What is more is for messages.
  Subject few({"few", {"instructions"}, duplex(1000)});
  Subject many({"many", {"instructions"}, duplex(100000)});
  EXPECT_EQ(allocations_of_a_stream(few), allocations_of_a_stream(many));
}

TEST(EngineAllocations, a_stream_without_plugins_needs_itself_and_its_facts) {
  Subject subject({"none", {}, {}});
  EXPECT_LE(allocations_of_a_stream(subject), 2U);
}

TEST(EngineAllocations, a_plugin_that_changes_nothing_needs_none_of_its_own) {
  Subject one({"one", {"instructions"}, {}});
  Subject two({"two", {"instructions", "bench_watch_only"}, {}});
  EXPECT_EQ(allocations_of_a_stream(one), allocations_of_a_stream(two));
}

TEST(EngineAllocations, an_idle_stream_keeps_little_more_than_its_headers) {
  Subject subject({"one", {"instructions"}, {}});
  CopyingSink sink;
  const auto warm = subject.open_idle(sink);
  const int64_t before = allocations().live_bytes;
  const auto idle = subject.open_idle(sink);
  const auto bytes = static_cast<std::size_t>(allocations().live_bytes - before);
  EXPECT_LE(bytes, subject.first_message_bytes() + 2112);
}

}  // namespace
}  // namespace extprocd::bench
