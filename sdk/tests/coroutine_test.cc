// Coroutines that a Stream runs: they wait, go on, and are destroyed once, wherever they stand.

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sdk/tests/fake_host.h"
#include "sdk/tests/waiter.h"
#include <extproc/coroutine.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::Action;
using extproc::CancelReason;
using extproc::Completion;
using extproc::Task;
using extproc::TaskOf;
using extproc_test::Counted;
using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::kWaiter;
using extproc_test::Map;
using extproc_test::Waiter;
using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

using S = Waiter::Stream;

class CoroutineTest : public testing::Test {
 protected:
  CoroutineTest() {
    Waiter::reset();
    call_.maps[EXTPROC_REQUEST_HEADERS] = {};
  }
  ~CoroutineTest() override {
    driver_.reset();
    EXPECT_EQ(Counted::alive, 0);
  }

  /// `make` makes the Task that the stream runs in its headers phase.
  template <typename Make>
  extproc_action runs(Make make) {
    Waiter::script = [make](S& stream) { return stream.run(make(stream)); };
    return driver_->run(call_, EXTPROC_REQUEST_HEADERS);
  }

  FakeHost host_;
  extproc_call call_;
  std::optional<Driver> driver_{std::in_place, kWaiter, host_};
};

/// A client of something that answers when the test says so.
template <typename T>
class Service {
 public:
  void ask(Completion<T> done) { asked_.push_back(std::move(done)); }
  std::size_t asked() const { return asked_.size(); }
  const Completion<T>& last() const { return asked_.back(); }
  void forget() { asked_.clear(); }

 private:
  std::vector<Completion<T>> asked_;
};

// ---- Waiting ----

Task never_waits(S& stream, Counted) {
  const Counted local;
  stream.current_headers().set("a", "1");
  co_return extproc::finish();
}

TEST_F(CoroutineTest, one_that_does_not_wait_answers_at_once) {
  EXPECT_EQ(runs([](S& stream) { return never_waits(stream, Counted()); }), EXTPROC_FINISH);
  EXPECT_EQ(call_.maps[EXTPROC_REQUEST_HEADERS], (Map{{"a", "1"}}));
  EXPECT_EQ(host_.async.begun(), 0U);
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, one_that_is_not_run_is_destroyed) {
  Waiter::script = [](S& stream) {
    const Task unused = never_waits(stream, Counted());
    return extproc::proceed();
  };
  EXPECT_EQ(driver_->run(call_, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_THAT(call_.maps[EXTPROC_REQUEST_HEADERS], IsEmpty());
}

Task is_answered_at_once() {
  const int number = co_await extproc::async<int>([](const Completion<int>& done) {
    EXPECT_TRUE(done.waiting());
    EXPECT_TRUE(done(418));
    EXPECT_FALSE(done.waiting());
  });
  co_await extproc::async<void>([](const Completion<void>& done) { EXPECT_TRUE(done()); });
  co_await extproc::sleep_for(0ms);
  co_return extproc::reply(static_cast<uint32_t>(number));
}

TEST_F(CoroutineTest, what_is_answered_at_once_is_not_waited_for) {
  EXPECT_EQ(runs([](S&) { return is_answered_at_once(); }), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 418U);
  EXPECT_EQ(host_.async.begun(), 0U);
}

Task asks(S& stream, Service<std::unique_ptr<std::string>>& service, std::string name) {
  const Counted local;
  const auto value =
      co_await extproc::async<std::unique_ptr<std::string>>([&](auto done) { service.ask(done); });
  stream.current_headers().set(name, *value);
  co_return extproc::proceed();
}

TEST_F(CoroutineTest, goes_on_with_the_answer_that_comes_later) {
  Service<std::unique_ptr<std::string>> service;
  EXPECT_EQ(runs([&](S& stream) { return asks(stream, service, "x-group"); }), EXTPROC_SUSPEND);
  EXPECT_EQ(Counted::alive, 1);
  std::thread thread([&] { EXPECT_TRUE(service.last()(std::make_unique<std::string>("admins"))); });
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  thread.join();
  EXPECT_EQ(call_.maps[EXTPROC_REQUEST_HEADERS], (Map{{"x-group", "admins"}}));
  EXPECT_EQ(Counted::alive, 0);
}

Task counts_to(Service<int>& service, int end) {
  int sum = 0;
  for (int i = 0; i < end; ++i) sum += co_await extproc::async<int>([&](auto done) { service.ask(done); });
  co_return extproc::reply(static_cast<uint32_t>(sum));
}

TEST_F(CoroutineTest, waits_as_often_as_it_likes) {
  Service<int> service;
  EXPECT_EQ(runs([&](S&) { return counts_to(service, 3); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()(100));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()(110));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()(120));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 330U);
  EXPECT_EQ(host_.async.ignored(), 0);
}

Task sleeps() {
  const Counted local;
  co_await extproc::sleep_for(10ms);
  co_await extproc::sleep_for(20ms);
  co_return extproc::finish();
}

TEST_F(CoroutineTest, sleeps_until_the_time_has_passed) {
  EXPECT_EQ(runs([](S&) { return sleeps(); }), EXTPROC_SUSPEND);
  host_.async.pass(10ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  host_.async.pass(20ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FINISH);
}

Task changes_the_body(S& stream) {
  co_await extproc::sleep_for(1ms);
  extproc::Body body = stream.current_body();
  EXPECT_EQ(body.view(), "a body");
  body.replace("another");
  co_return extproc::proceed();
}

TEST_F(CoroutineTest, changes_the_body_when_it_has_waited) {
  Waiter::script = [](S& stream) { return stream.run(changes_the_body(stream)); };
  EXPECT_EQ(driver_->body(call_, EXTPROC_REQUEST_BODY, "a body", EXTPROC_END_OF_BODY), EXTPROC_SUSPEND);
  host_.async.pass(1ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(call_.sent_text(), "another");
}

Task loops(int times) {
  int sum = 0;
  for (int i = 0; i < times; ++i) {
    sum += co_await extproc::async<int>([](const Completion<int>& done) { done(1); });
  }
  co_return sum == times ? extproc::finish() : extproc::proceed();
}

TEST_F(CoroutineTest, a_long_loop_of_answers_takes_no_stack) {
  EXPECT_EQ(runs([](S&) { return loops(100'000); }), EXTPROC_FINISH);
}

// ---- Completions ----

TEST_F(CoroutineTest, the_first_completion_counts) {
  Service<int> service;
  EXPECT_EQ(runs([&](S&) { return counts_to(service, 1); }), EXTPROC_SUSPEND);
  const Completion<int> done = service.last();
  EXPECT_TRUE(done(200));
  EXPECT_FALSE(done(201));
  EXPECT_FALSE(done.fail(std::runtime_error("too late")));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 200U);
  EXPECT_FALSE(done(202));
}

TEST_F(CoroutineTest, one_of_ten_threads_completes) {
  for (int round = 0; round < 100; ++round) {
    Service<int> service;
    EXPECT_EQ(runs([&](S&) { return counts_to(service, 1); }), EXTPROC_SUSPEND);
    std::atomic<bool> begin = false;
    std::atomic<uint32_t> taken = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) {
      threads.emplace_back([&, i, done = service.last()] {
        while (!begin) std::this_thread::yield();
        if (done(200 + i)) taken += static_cast<uint32_t>(200 + i);
      });
    }
    begin = true;
    EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(call_.replied, taken);
  }
}

Task asks_a_thread(std::vector<std::thread>& threads) {
  const int number = co_await extproc::async<int>(
      [&](Completion<int> done) { threads.emplace_back([done] { EXPECT_TRUE(done(204)); }); });
  co_return extproc::reply(static_cast<uint32_t>(number));
}

TEST_F(CoroutineTest, an_answer_may_come_while_it_begins_to_wait) {
  for (int round = 0; round < 500; ++round) {
    std::vector<std::thread> threads;
    extproc_action action = runs([&](S&) { return asks_a_thread(threads); });
    if (action == EXTPROC_SUSPEND) action = driver_->go_on(call_);
    EXPECT_EQ(action, EXTPROC_REPLY);
    EXPECT_EQ(call_.replied, 204U);
    threads.at(0).join();
  }
  EXPECT_EQ(host_.async.ignored(), 0);
}

TEST_F(CoroutineTest, a_completion_that_nobody_has_any_more_is_an_exception) {
  Service<int> service;
  EXPECT_EQ(runs([&](S&) { return counts_to(service, 1); }), EXTPROC_SUSPEND);
  service.forget();
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 13U);
  EXPECT_EQ(call_.failure, "what a coroutine awaits gave up its last Completion without completing");
}

Task asks_nobody() {
  co_await extproc::async<void>([](const Completion<void>&) {});
  co_return extproc::proceed();
}

TEST_F(CoroutineTest, a_completion_that_nobody_ever_had_is_an_exception) {
  EXPECT_EQ(runs([](S&) { return asks_nobody(); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 13U);
  EXPECT_EQ(host_.async.begun(), 0U);
}

// ---- Exceptions ----

Task throws_at_once(Counted) {
  const Counted local;
  throw extproc::Error(extproc::GrpcCode::kUnavailable, "at once");
  co_return extproc::proceed();
}

TEST_F(CoroutineTest, an_exception_before_it_waits_is_a_failure) {
  EXPECT_EQ(runs([](S&) { return throws_at_once(Counted()); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 14U);
  EXPECT_EQ(call_.failure, "at once");
  EXPECT_EQ(Counted::alive, 0);
}

Task throws_later() {
  const Counted local;
  co_await extproc::sleep_for(1ms);
  throw std::runtime_error("later");
}

TEST_F(CoroutineTest, an_exception_after_it_waited_is_a_failure) {
  EXPECT_EQ(runs([](S&) { return throws_later(); }), EXTPROC_SUSPEND);
  host_.async.pass(1ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "later");
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, an_exception_is_delivered) {
  Service<int> service;
  EXPECT_EQ(runs([&](S&) { return counts_to(service, 1); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last().fail(extproc::Error(extproc::GrpcCode::kNotFound, "no such user")));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 5U);
  EXPECT_EQ(call_.failure, "no such user");
}

Task catches(Service<int>& service) {
  std::string seen;
  try {
    co_await extproc::async<int>([&](auto done) { service.ask(done); });
  } catch (const std::runtime_error& error) {
    seen += error.what();
  }
  try {
    co_await extproc::async<int>([](const Completion<int>&) { throw std::logic_error(", begin"); });
  } catch (const std::logic_error& error) {
    seen += error.what();
  }
  co_return extproc::reply(500, seen);
}

TEST_F(CoroutineTest, an_exception_can_be_caught_at_the_co_await) {
  Service<int> service;
  EXPECT_EQ(runs([&](S&) { return catches(service); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last().fail(std::make_exception_ptr(std::runtime_error("delivered"))));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.reply_text, "delivered, begin||-1");
}

Task cannot_wait(Service<int>& service) {
  int refused = 0;
  try {
    co_await extproc::async<int>([&](auto done) { service.ask(done); });
  } catch (const extproc::Refused&) {
    ++refused;
  }
  try {
    co_await extproc::sleep_for(1ms);
  } catch (const extproc::Refused&) {
    ++refused;
  }
  co_return refused == 2 ? extproc::finish() : extproc::proceed();
}

TEST_F(CoroutineTest, where_waiting_is_refused_co_await_throws) {
  Service<int> service;
  call_.suspend_status = EXTPROC_UNSUPPORTED;
  EXPECT_EQ(runs([&](S&) { return cannot_wait(service); }), EXTPROC_FINISH);
  EXPECT_FALSE(service.last()(1));
}

// ---- Tasks that await tasks ----

TaskOf<std::string> answer_of(Service<std::string>& service, std::string question) {
  const Counted local;
  const std::string answer = co_await extproc::async<std::string>([&](auto done) { service.ask(done); });
  co_return question + answer;
}

TaskOf<void> checks(Service<std::string>& service, Counted) {
  const std::string answer = co_await answer_of(service, "are you there? ");
  if (!answer.ends_with("yes")) throw extproc::Error(extproc::GrpcCode::kUnavailable, answer);
}

Task asks_twice(Service<std::string>& service) {
  const Counted local;
  co_await checks(service, Counted());
  const std::string who = co_await answer_of(service, "who? ");
  co_return extproc::reply(200, who);
}

TEST_F(CoroutineTest, tasks_await_tasks) {
  Service<std::string> service;
  EXPECT_EQ(runs([&](S&) { return asks_twice(service); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("yes"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("me"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.reply_text, "who? me||-1");
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, exceptions_go_from_task_to_task) {
  Service<std::string> service;
  EXPECT_EQ(runs([&](S&) { return asks_twice(service); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("no"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 14U);
  EXPECT_EQ(call_.failure, "are you there? no");
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, tasks_that_wait_are_all_destroyed_together) {
  Service<std::string> service;
  EXPECT_EQ(runs([&](S&) { return asks_twice(service); }), EXTPROC_SUSPEND);
  EXPECT_GE(Counted::alive, 3);
  driver_->cancel(call_, EXTPROC_CANCEL_TIMEOUT);
  EXPECT_EQ(Waiter::alive_when_cancelled, 0);
}

TaskOf<int> depth(int left) {
  const Counted local;
  if (left == 0) co_return 0;
  const int below = co_await depth(left - 1);
  co_return below + 1;
}

Task goes_deep(int levels) {
  const int reached = co_await depth(levels);
  co_return reached == levels ? extproc::finish() : extproc::proceed();
}

TEST_F(CoroutineTest, deep_tasks_take_no_stack) {
  EXPECT_EQ(runs([](S&) { return goes_deep(100'000); }), EXTPROC_FINISH);
  EXPECT_EQ(Counted::alive, 0);
}

Task awaits_a_named_task(Service<std::string>& service) {
  TaskOf<std::string> later = answer_of(service, "");
  co_await extproc::sleep_for(1ms);
  const std::string answer = co_await std::move(later);
  co_return extproc::reply(200, answer);
}

TEST_F(CoroutineTest, a_task_begins_when_it_is_awaited) {
  Service<std::string> service;
  EXPECT_EQ(runs([&](S&) { return awaits_a_named_task(service); }), EXTPROC_SUSPEND);
  EXPECT_EQ(service.asked(), 0U);
  host_.async.pass(1ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("named"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.reply_text, "named||-1");
}

// ---- In vain ----

Task holds_on(Service<Counted>& service, Counted) {
  const Counted local;
  const auto ask = [&, captured = Counted()](Completion<Counted> done) { service.ask(std::move(done)); };
  const Counted answer = co_await extproc::async<Counted>(ask);
  ADD_FAILURE() << "went on";
  co_return extproc::proceed();
}

TEST_F(CoroutineTest, is_destroyed_where_it_stands_when_the_time_is_over) {
  Service<Counted> service;
  EXPECT_EQ(runs([&](S&) { return holds_on(service, Counted()); }), EXTPROC_SUSPEND);
  EXPECT_GE(Counted::alive, 3);
  driver_->cancel(call_, EXTPROC_CANCEL_TIMEOUT);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(Waiter::alive_when_cancelled, 0);
  EXPECT_THAT(Waiter::cancelled, ElementsAre(CancelReason::kTimeout));
  EXPECT_FALSE(service.last().waiting());
  EXPECT_FALSE(service.last()(Counted()));
  EXPECT_EQ(host_.async.ignored(), 1);
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, is_destroyed_where_it_stands_when_the_stream_ends) {
  Service<Counted> service;
  EXPECT_EQ(runs([&](S&) { return holds_on(service, Counted()); }), EXTPROC_SUSPEND);
  driver_->end();
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_THAT(Waiter::cancelled, ElementsAre(CancelReason::kStreamOver));
  EXPECT_FALSE(service.last()(Counted()));
}

TEST_F(CoroutineTest, an_answer_that_came_before_the_stream_ended_is_destroyed_with_it) {
  Service<Counted> service;
  EXPECT_EQ(runs([&](S&) { return holds_on(service, Counted()); }), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()(Counted()));
  driver_->end();
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, an_answer_may_come_while_the_stream_ends) {
  for (int round = 0; round < 200; ++round) {
    Service<Counted> service;
    EXPECT_EQ(runs([&](S&) { return holds_on(service, Counted()); }), EXTPROC_SUSPEND);
    std::thread thread([done = service.last()] { done(Counted()); });
    driver_->end();
    thread.join();
    EXPECT_EQ(Counted::alive, 0);
  }
}

TEST_F(CoroutineTest, one_that_sleeps_is_destroyed_with_the_stream) {
  EXPECT_EQ(runs([](S&) { return sleeps(); }), EXTPROC_SUSPEND);
  EXPECT_EQ(Counted::alive, 1);
  driver_->end();
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, one_whose_waiting_the_callback_does_not_return_is_destroyed) {
  Service<Counted> service;
  Waiter::script = [&](S& stream) {
    static_cast<void>(stream.run(holds_on(service, Counted())));
    return extproc::proceed();
  };
  EXPECT_EQ(driver_->run(call_, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_FALSE(service.last()(Counted()));
}

Task runs_another(S& stream, Service<std::string>& service) {
  co_await extproc::sleep_for(1ms);
  co_return stream.run(asks_twice(service));
}

TEST_F(CoroutineTest, one_may_end_by_running_another) {
  Service<std::string> service;
  EXPECT_EQ(runs([&](S& stream) { return runs_another(stream, service); }), EXTPROC_SUSPEND);
  host_.async.pass(1ms);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("yes"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(service.last()("me"));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
}

// ---- Temporaries ----

template <typename T>
TaskOf<T> later(T value) {
  const Counted local;
  co_await extproc::sleep_for(1ms);
  co_return value;
}

Counted counted(const Counted& one) { return one; }

/// co_await stands alone, or is what a variable is made of or becomes: GCC 12 makes wrong code of more.
Task full_of_temporaries(std::string& seen) {
  const auto [first, second] =
      co_await later(std::pair(std::string("a string that is long enough for the heap"), 2));
  seen += std::to_string(first.size() + static_cast<std::size_t>(second)) + " ";
  co_await later(std::string("nobody looks at this string, which is on the heap"));
  std::string text = co_await later(std::string("another string that is long ") + "enough for the heap ");
  seen += text;
  text = co_await later(seen.substr(0, 3) + std::to_string(text.size()));
  seen += text;
  const Counted kept = co_await later(counted(Counted()));
  for (int i = 0; i < 2; ++i) {
    const bool more = co_await later(seen.size() < 60);
    if (!more) break;
    seen += " more";
  }
  const Counted answer =
      co_await extproc::async<Counted>([&](const Completion<Counted>& done) { done(counted(kept)); });
  const bool right = co_await later(true);
  co_return right ? extproc::finish() : extproc::proceed();
}

TEST_F(CoroutineTest, temporaries_are_destroyed_once) {
  std::string seen;
  extproc_action action = runs([&](S&) { return full_of_temporaries(seen); });
  while (action == EXTPROC_SUSPEND) {
    host_.async.pass(1ms);
    action = driver_->go_on(call_);
  }
  EXPECT_EQ(action, EXTPROC_FINISH);
  EXPECT_EQ(seen, "43 another string that is long enough for the heap 43 48 more");
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(CoroutineTest, temporaries_are_destroyed_once_wherever_it_is_cancelled) {
  for (int waits = 1;; ++waits) {
    std::string seen;
    extproc_action action = runs([&](S&) { return full_of_temporaries(seen); });
    for (int i = 1; i < waits && action == EXTPROC_SUSPEND; ++i) {
      host_.async.pass(1ms);
      action = driver_->go_on(call_);
    }
    if (action != EXTPROC_SUSPEND) break;
    EXPECT_GT(Counted::alive, 0);
    driver_->cancel(call_, EXTPROC_CANCEL_TIMEOUT);
    EXPECT_EQ(Counted::alive, 0) << "after waiting " << waits << " times";
    ASSERT_LT(waits, 100);
  }
}

}  // namespace
