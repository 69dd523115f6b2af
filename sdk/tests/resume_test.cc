// Waiting, and going on: a Resume from any thread, once.

#include <chrono>
#include <optional>
#include <thread>

#include "sdk/tests/fake_host.h"
#include "sdk/tests/waiter.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::Action;
using extproc::CancelReason;
using extproc::Refused;
using extproc::Resume;
using extproc::Status;
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

class ResumeTest : public testing::Test {
 protected:
  ResumeTest() { Waiter::reset(); }
  ~ResumeTest() override {
    driver_.reset();
    EXPECT_EQ(Counted::alive, 0);
  }

  template <typename Script>
  extproc_action in_headers(Script script) {
    Waiter::script = script;
    return driver_->run(call_, EXTPROC_REQUEST_HEADERS);
  }
  /// The stream waits for what this returns.
  Resume waits() {
    Resume given;
    EXPECT_EQ(
        in_headers([&](S& stream) { return stream.suspend([&](const Resume& resume) { given = resume; }); }),
        EXTPROC_SUSPEND);
    return given;
  }
  void end() { driver_->end(); }

  FakeHost host_;
  extproc_call call_;
  std::optional<Driver> driver_{std::in_place, kWaiter, host_};
};

TEST_F(ResumeTest, goes_on_with_proceed) {
  const Resume resume = waits();
  EXPECT_TRUE(resume.waiting());
  EXPECT_TRUE(resume());
  EXPECT_FALSE(resume.waiting());
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(host_.async.ignored(), 0);
}

TEST_F(ResumeTest, goes_on_with_what_the_callable_returns) {
  const Resume resume = waits();
  EXPECT_TRUE(resume([] { return extproc::reply(418, "short and stout"); }));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 418U);
}

TEST_F(ResumeTest, the_callable_sees_the_headers_of_its_phase_as_they_were_left) {
  call_.maps[EXTPROC_REQUEST_HEADERS] = {{"a", "1"}};
  Resume given;
  in_headers([&](S& stream) {
    stream.current_headers().set("b", "2");
    return stream.suspend([&](Resume resume) {
      given = std::move(resume);
      given([&stream] {
        EXPECT_TRUE(stream.current_headers().contains("b"));
        stream.current_headers().set("a", "3");
        return extproc::proceed();
      });
    });
  });
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(call_.maps[EXTPROC_REQUEST_HEADERS], (Map{{"b", "2"}, {"a", "3"}}));
}

TEST_F(ResumeTest, the_callable_changes_the_body_of_its_phase) {
  Waiter::script = [](S& stream) {
    return stream.suspend([&](const Resume& resume) {
      resume([&stream] {
        extproc::Body body = stream.current_body();
        EXPECT_EQ(body.view(), "a body");
        EXPECT_TRUE(body.partial());
        body.append(", changed");
        return extproc::proceed();
      });
    });
  };
  const uint32_t flags = EXTPROC_END_OF_BODY | EXTPROC_PARTIAL_BODY;
  EXPECT_EQ(driver_->body(call_, EXTPROC_REQUEST_BODY, "a body", flags), EXTPROC_SUSPEND);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(call_.sent_text(), "a body, changed");
}

TEST_F(ResumeTest, a_callable_may_wait_again) {
  Resume second;
  EXPECT_EQ(in_headers([&](S& stream) {
              return stream.suspend([&](const Resume& first) {
                first([&] { return stream.suspend([&](const Resume& resume) { second = resume; }); });
              });
            }),
            EXTPROC_SUSPEND);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_SUSPEND);
  EXPECT_TRUE(driver_->waits());
  EXPECT_TRUE(second([] { return extproc::finish(); }));
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FINISH);
}

TEST_F(ResumeTest, a_callable_need_not_be_copyable) {
  waits()([owned = std::make_unique<int>(404)] { return extproc::reply(static_cast<uint32_t>(*owned)); });
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 404U);
}

TEST_F(ResumeTest, an_exception_from_the_callable_makes_the_plugin_fail) {
  waits()([counted = Counted()]() -> Action {
    throw extproc::Error(extproc::GrpcCode::kUnavailable, "no answer");
  });
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 14U);
  EXPECT_EQ(call_.failure, "no answer");
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, the_callable_is_destroyed_when_it_has_run) {
  const Resume resume = waits();
  EXPECT_TRUE(resume([counted = Counted()] { return extproc::proceed(); }));
  EXPECT_EQ(Counted::alive, 1);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, a_second_time_does_nothing) {
  const Resume resume = waits();
  const Resume copy = resume;
  EXPECT_TRUE(resume([] { return extproc::proceed(); }));
  EXPECT_FALSE(
      copy([counted = Counted()] { return extproc::fail(extproc::GrpcCode::kInternal, "not this"); }));
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_FALSE(copy());
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_FALSE(resume());
  EXPECT_EQ(host_.async.ignored(), 3);
}

TEST_F(ResumeTest, one_of_ten_threads_resumes) {
  for (int round = 0; round < 100; ++round) {
    const Resume resume = waits();
    std::atomic<bool> begin = false;
    std::atomic<int> taken = 0;
    std::atomic<int> ran = -1;
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) {
      threads.emplace_back([&, i, mine = resume] {
        while (!begin) std::this_thread::yield();
        if (mine([&ran, i, counted = Counted()] {
              ran = i;
              return extproc::proceed();
            }))
          taken += 1 + 100 * i;
      });
    }
    begin = true;
    EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(taken, 1 + 100 * ran);
    EXPECT_EQ(Counted::alive, 0);
  }
  EXPECT_EQ(host_.async.ignored(), 900);
}

TEST_F(ResumeTest, is_harmless_while_the_stream_ends) {
  for (int round = 0; round < 200; ++round) {
    const Resume resume = waits();
    std::thread thread([&] { resume([counted = Counted()] { return extproc::proceed(); }); });
    end();
    thread.join();
    EXPECT_EQ(Counted::alive, 0);
  }
}

TEST_F(ResumeTest, is_harmless_when_the_stream_is_over) {
  const Resume resume = waits();
  end();
  EXPECT_FALSE(resume.waiting());
  EXPECT_FALSE(resume([counted = Counted()] { return extproc::proceed(); }));
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(host_.async.ignored(), 1);
}

TEST_F(ResumeTest, is_harmless_when_plugin_and_host_are_gone) {
  auto host = std::make_unique<FakeHost>();
  std::optional<Driver> driver(std::in_place, kWaiter, *host);
  Resume given;
  Waiter::script = [&](S& stream) { return stream.suspend([&](const Resume& resume) { given = resume; }); };
  EXPECT_EQ(driver->run(call_, EXTPROC_REQUEST_HEADERS), EXTPROC_SUSPEND);
  driver.reset();
  EXPECT_FALSE(given());
  EXPECT_EQ(host->async.ignored(), 0) << "the host was asked";
  host.reset();
  EXPECT_FALSE(given.waiting());
  EXPECT_FALSE(given());
  EXPECT_FALSE(given([] { return extproc::proceed(); }));
}

TEST_F(ResumeTest, of_no_stream_does_nothing) {
  const Resume resume;
  EXPECT_FALSE(resume.waiting());
  EXPECT_FALSE(resume());
  EXPECT_FALSE(resume([counted = Counted()] { return extproc::proceed(); }));
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, a_stream_that_ends_after_resume_destroys_the_callable) {
  const Resume resume = waits();
  EXPECT_TRUE(resume([counted = Counted()] { return extproc::proceed(); }));
  EXPECT_EQ(Counted::alive, 1);
  end();
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_THAT(Waiter::cancelled, ElementsAre(CancelReason::kStreamOver));
}

TEST_F(ResumeTest, a_callable_that_holds_its_own_resume_is_destroyed) {
  for (const bool runs : {true, false}) {
    {
      const Resume resume = waits();
      EXPECT_TRUE(resume([resume, counted = Counted()] { return extproc::proceed(); }));
    }
    if (runs)
      EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
    else
      end();
    EXPECT_EQ(Counted::alive, 0);
  }
}

TEST_F(ResumeTest, a_callable_that_resumes_when_it_is_destroyed_does_no_harm) {
  struct LastWord {
    Resume resume;
    ~LastWord() { resume(); }
  };
  const Resume resume = waits();
  EXPECT_TRUE(resume([last = std::make_unique<LastWord>(LastWord{resume}), counted = Counted()] {
    static_cast<void>(last);
    return extproc::proceed();
  }));
  end();
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, when_the_last_one_is_gone_the_plugin_fails) {
  EXPECT_EQ(in_headers([&](S& stream) { return stream.suspend([](const Resume&) {}); }), EXTPROC_SUSPEND);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 13U);
  EXPECT_EQ(call_.failure, "it waited, and gave up its last Resume without resuming");
  EXPECT_EQ(host_.async.ignored(), 0);
}

TEST_F(ResumeTest, the_last_one_may_go_after_it_has_resumed) {
  EXPECT_EQ(in_headers([&](S& stream) { return stream.suspend([](const Resume& resume) { resume(); }); }),
            EXTPROC_SUSPEND);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(host_.async.ignored(), 0);
}

TEST_F(ResumeTest, the_last_one_may_go_when_nothing_waits_any_more) {
  {
    const Resume resume = waits();
    end();
  }
  EXPECT_EQ(host_.async.ignored(), 0);
}

// ---- What a callback returns ----

TEST_F(ResumeTest, a_suspension_that_the_callback_does_not_wait_for_is_over) {
  Resume resume;
  EXPECT_EQ(in_headers([&](S& stream) {
              resume = stream.suspend();
              EXPECT_TRUE(resume([counted = Counted()] { return extproc::proceed(); }));
              return extproc::finish();
            }),
            EXTPROC_FINISH);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_FALSE(resume());
  EXPECT_THAT(Waiter::cancelled, IsEmpty());
}

TEST_F(ResumeTest, an_exception_behind_suspend_ends_the_suspension) {
  Resume resume;
  EXPECT_EQ(in_headers([&](S& stream) {
              return stream.suspend([&](Resume given) {
                resume = std::move(given);
                throw std::runtime_error("it could not be begun");
              });
            }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "it could not be begun");
  EXPECT_FALSE(resume.waiting());
}

TEST_F(ResumeTest, waiting_for_nothing_is_a_failure) {
  EXPECT_EQ(in_headers([](S&) { return extproc::wait(); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 13U);
  EXPECT_EQ(call_.failure, "wait() was returned without suspend()");
  waits()([] { return extproc::wait(); });
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_FAIL);
}

TEST_F(ResumeTest, suspend_is_refused_where_the_host_says_so) {
  call_.suspend_status = EXTPROC_UNSUPPORTED;
  EXPECT_EQ(in_headers([](S& stream) {
              Resume resume;
              EXPECT_EQ(stream.try_suspend(resume), Status::kUnsupported);
              EXPECT_FALSE(resume.waiting());
              return stream.suspend([](const Resume&) { ADD_FAILURE() << "not refused"; });
            }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "suspend: unsupported: it cannot wait here");
}

TEST_F(ResumeTest, suspend_works_once_in_a_callback) {
  EXPECT_EQ(in_headers([](S& stream) {
              Resume resume;
              EXPECT_EQ(stream.try_suspend(resume), Status::kOk);
              Resume second;
              EXPECT_EQ(stream.try_suspend(second), Status::kLimit);
              resume();
              return extproc::wait();
            }),
            EXTPROC_SUSPEND);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
}

TEST(ResumeOnAnOldHost, is_refused_and_the_plugin_may_do_without) {
  Waiter::reset();
  FakeHost host;
  host.has_extensions = false;
  host.abi_minor = 1;
  Driver driver(kWaiter, host);
  extproc_call call;
  Waiter::script = [](S& stream) {
    Resume resume;
    EXPECT_EQ(stream.try_suspend(resume), Status::kUnsupported);
    return stream.suspend([](const Resume&) {});
  };
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_FAIL);
  EXPECT_EQ(call.failure, "suspend: unsupported: this server is too old, it speaks contract 1.1");
}

// ---- Time ----

TEST_F(ResumeTest, wait_for_goes_on_when_the_time_has_passed) {
  EXPECT_EQ(in_headers([](S& stream) {
              return stream.wait_for(5ms, [counted = Counted()] { return extproc::reply(429); });
            }),
            EXTPROC_SUSPEND);
  host_.async.pass(4999us);
  EXPECT_EQ(Counted::alive, 1);
  host_.async.pass(1us);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 429U);
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, who_resumes_before_the_time_has_passed_is_first) {
  Resume resume;
  EXPECT_EQ(in_headers([&](S& stream) {
              resume = stream.suspend();
              stream.resume_after(1s, [counted = Counted()] { return extproc::reply(504); });
              return extproc::wait();
            }),
            EXTPROC_SUSPEND);
  EXPECT_TRUE(resume([] { return extproc::reply(200); }));
  host_.async.pass(2s);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 200U);
  EXPECT_EQ(Counted::alive, 0);
}

TEST_F(ResumeTest, who_resumes_when_the_time_has_passed_is_late) {
  Resume resume;
  in_headers([&](S& stream) {
    resume = stream.suspend();
    stream.resume_after(1s, [] { return extproc::reply(504); });
    return extproc::wait();
  });
  host_.async.pass(1s);
  EXPECT_FALSE(resume([counted = Counted()] { return extproc::reply(200); }));
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 504U);
}

TEST_F(ResumeTest, a_timer_needs_a_suspension_and_there_is_one) {
  EXPECT_EQ(in_headers([](S& stream) {
              stream.resume_after(1s, [] { return extproc::proceed(); });
              return extproc::proceed();
            }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "resume_after: invalid: call suspend() first");
  EXPECT_EQ(in_headers([](S& stream) {
              const Resume resume = stream.suspend();
              stream.resume_after(1s, [] { return extproc::proceed(); });
              stream.resume_after(2s, [] { return extproc::proceed(); });
              return extproc::wait();
            }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "resume_after: over a limit: once");
}

TEST(Nanoseconds, are_never_negative_and_never_overflow) {
  using extproc::detail::to_nanoseconds;
  EXPECT_EQ(to_nanoseconds(5us), 5000U);
  EXPECT_EQ(to_nanoseconds(std::chrono::duration<double>(0.5)), 500'000'000U);
  EXPECT_EQ(to_nanoseconds(-1ms), 0U);
  EXPECT_EQ(to_nanoseconds(std::chrono::hours::max()), static_cast<uint64_t>(INT64_MAX));
  EXPECT_EQ(to_nanoseconds(std::chrono::hours::min()), 0U);
}

// ---- In vain ----

TEST_F(ResumeTest, a_stream_that_ends_while_it_waits_is_told) {
  const Resume resume = waits();
  EXPECT_TRUE(resume([counted = Counted()] { return extproc::proceed(); }));
  end();
  EXPECT_THAT(Waiter::cancelled, ElementsAre(CancelReason::kStreamOver));
  EXPECT_EQ(Waiter::alive_when_cancelled, 0);
}

TEST_F(ResumeTest, a_time_that_is_over_is_told_and_the_stream_goes_on) {
  const Resume resume = waits();
  driver_->cancel(call_, EXTPROC_CANCEL_TIMEOUT);
  EXPECT_THAT(Waiter::cancelled, ElementsAre(CancelReason::kTimeout));
  EXPECT_FALSE(resume());
  waits()();
  EXPECT_EQ(driver_->go_on(call_), EXTPROC_CONTINUE);
  EXPECT_EQ(Waiter::cancelled.size(), 1U);
}

TEST_F(ResumeTest, an_exception_in_on_cancelled_is_logged) {
  Waiter::throws_when_cancelled = true;
  const Resume resume = waits();
  driver_->cancel(call_, EXTPROC_CANCEL_TIMEOUT);
  EXPECT_THAT(host_.log_lines, ElementsAre("4:exception in on_cancelled: cannot give up"));
}

}  // namespace
