#include "core/engine/quarantine.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

class QuarantineTest : public testing::Test {
 protected:
  using Time = Quarantine::Clock::time_point;

  /// Three failures within ten seconds, for thirty.
  static config::Quarantine rule(config::FailurePolicy policy = config::FailurePolicy::kDeny) {
    config::Quarantine rule;
    rule.failures = 3;
    rule.window = 10;
    rule.duration = 30;
    rule.policy = policy;
    return rule;
  }

  void fail_often(Time at) {
    for (int i = 0; i < 3; ++i) quarantine_.failed(at, 0);
  }
  /// The number of the stream that may try the plugin.
  Quarantine::Trial trial_at(Time at) { return quarantine_.admit(at).value_or(0); }

  double state(const std::string& name) {
    return registry_.gauge("extproc_plugin_state", "", {{"plugin", "p"}, {"state", name}}).value();
  }

  telemetry::Registry registry_{2};
  Quarantine quarantine_{rule(), "p", registry_};
  const Time start_{std::chrono::hours(1)};
};

TEST_F(QuarantineTest, so_many_failures_within_the_window_put_a_plugin_aside) {
  quarantine_.failed(start_, 0);
  quarantine_.failed(start_ + seconds(9), 0);
  EXPECT_FALSE(quarantine_.suspects());
  quarantine_.failed(start_ + seconds(10), 0);
  EXPECT_TRUE(quarantine_.suspects());
  EXPECT_EQ(quarantine_.admit(start_ + seconds(10)), std::nullopt);
}

TEST_F(QuarantineTest, failures_further_apart_do_not) {
  for (int i = 0; i < 20; ++i) quarantine_.failed(start_ + milliseconds(5001) * i, 0);
  EXPECT_FALSE(quarantine_.suspects());
  // The window moves on: the last two count, whatever came before.
  quarantine_.failed(start_ + milliseconds(5001) * 19 + seconds(1), 0);
  EXPECT_TRUE(quarantine_.suspects());
}

TEST_F(QuarantineTest, without_a_rule_nothing_does_and_there_are_no_metrics) {
  telemetry::Registry registry{2};
  Quarantine never({}, "p", registry);
  for (int i = 0; i < 1000; ++i) never.failed(start_, 0);
  EXPECT_FALSE(never.suspects());
  EXPECT_THAT(registry.text(), Not(HasSubstr("extproc_plugin_")));
}

TEST_F(QuarantineTest, after_its_time_exactly_one_stream_tries_the_plugin) {
  fail_often(start_);
  EXPECT_EQ(quarantine_.admit(start_ + milliseconds(29999)), std::nullopt);
  EXPECT_NE(trial_at(start_ + seconds(30)), 0U);
  EXPECT_EQ(quarantine_.admit(start_ + seconds(30)), std::nullopt);
  EXPECT_EQ(quarantine_.admit(start_ + seconds(59)), std::nullopt);
}

TEST_F(QuarantineTest, a_trial_that_ends_well_ends_the_quarantine) {
  fail_often(start_);
  const Time later = start_ + seconds(30);
  const Quarantine::Trial trial = trial_at(later);
  quarantine_.returned_well(trial);
  EXPECT_TRUE(quarantine_.suspects());  // it may fail yet
  quarantine_.trial_over(later, trial);
  EXPECT_FALSE(quarantine_.suspects());
  EXPECT_EQ(quarantine_.admit(later), 0U);
  // What failed before is forgotten.
  quarantine_.failed(later, 0);
  quarantine_.failed(later, 0);
  EXPECT_FALSE(quarantine_.suspects());
}

TEST_F(QuarantineTest, a_trial_that_fails_begins_another_quarantine_whatever_went_well_before) {
  fail_often(start_);
  const Time later = start_ + seconds(40);
  const Quarantine::Trial trial = trial_at(later);
  quarantine_.returned_well(trial);
  quarantine_.failed(later, trial);
  quarantine_.trial_over(later, trial);
  EXPECT_EQ(quarantine_.admit(later + seconds(29)), std::nullopt);
  EXPECT_NE(trial_at(later + seconds(30)), 0U);
  EXPECT_EQ(registry_.counter("extproc_plugin_quarantines_total", "", {{"plugin", "p"}}).value(), 2U);
}

TEST_F(QuarantineTest, a_trial_that_showed_nothing_is_followed_by_another) {
  fail_often(start_);
  const Time later = start_ + seconds(30);
  const Quarantine::Trial first = trial_at(later);
  quarantine_.trial_over(later, first);
  const Quarantine::Trial second = trial_at(later);
  EXPECT_NE(second, 0U);
  EXPECT_NE(second, first);
}

TEST_F(QuarantineTest, a_trial_that_takes_longer_than_the_quarantine_is_judged_by_what_it_showed) {
  fail_often(start_);
  const Quarantine::Trial hangs = trial_at(start_ + seconds(30));
  const Quarantine::Trial goes_well = trial_at(start_ + seconds(60));
  EXPECT_NE(goes_well, 0U);
  quarantine_.returned_well(goes_well);
  quarantine_.failed(start_ + seconds(61), hangs);  // it decides nothing any more
  quarantine_.trial_over(start_ + seconds(61), hangs);
  EXPECT_EQ(quarantine_.admit(start_ + seconds(89)), std::nullopt);
  EXPECT_EQ(quarantine_.admit(start_ + seconds(90)), 0U);
  EXPECT_FALSE(quarantine_.suspects());
}

TEST_F(QuarantineTest, streams_that_began_before_neither_prolong_a_quarantine_nor_decide_a_trial) {
  fail_often(start_);
  fail_often(start_ + seconds(29));
  const Quarantine::Trial trial = trial_at(start_ + seconds(30));
  EXPECT_NE(trial, 0U);
  fail_often(start_ + seconds(30));
  quarantine_.returned_well(trial);
  quarantine_.trial_over(start_ + seconds(31), trial);
  EXPECT_FALSE(quarantine_.suspects());
}

TEST_F(QuarantineTest, metrics_tell_how_many_instances_are_in_each_state) {
  Quarantine other(rule(), "p", registry_);  // of a chain that overrides the plugin's options
  EXPECT_EQ(state("active"), 2);
  fail_often(start_);
  EXPECT_EQ(state("active"), 1);
  EXPECT_EQ(state("quarantined"), 1);
  const Quarantine::Trial trial = trial_at(start_ + seconds(30));
  EXPECT_EQ(state("quarantined"), 0);
  EXPECT_EQ(state("trial"), 1);
  quarantine_.returned_well(trial);
  quarantine_.trial_over(start_ + seconds(30), trial);
  EXPECT_EQ(state("trial"), 0);
  EXPECT_EQ(state("active"), 2);
  {
    Quarantine gone(rule(), "p", registry_);
  }
  EXPECT_EQ(state("active"), 2);
}

TEST_F(QuarantineTest, of_many_threads_that_ask_at_once_one_gets_the_trial) {
  fail_often(start_);
  std::atomic<int> trials{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) trials += trial_at(start_ + seconds(30)) != 0 ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(trials, 1);
}

}  // namespace
}  // namespace extprocd::engine
