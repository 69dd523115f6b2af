#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include <extproc/plugin.hpp>
#include <gtest/gtest.h>

namespace extproc_test {

/// Counts how many of it there are, so that a test sees what was destroyed, and that it was so once.
class Counted {
 public:
  Counted() { ++alive; }
  Counted(const Counted&) : Counted() {}
  Counted(Counted&&) noexcept { ++alive; }
  Counted& operator=(const Counted&) = default;
  Counted& operator=(Counted&&) = default;
  ~Counted() {
    EXPECT_TRUE(here_) << "destroyed twice";
    here_ = false;
    --alive;
  }

  static inline std::atomic<int> alive = 0;

 private:
  bool here_ = true;
};

/// Does in its callbacks what the test puts here.
class Waiter : public extproc::Plugin {
 public:
  Waiter(const extproc::Config&, extproc::Host&) {}
  static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kWhole;

  struct Stream : extproc::Stream<Waiter> {
    using extproc::Stream<Waiter>::Stream;
    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return script(*this);
    }
    extproc::Action on_request_body(extproc::Body&, extproc::EndOfStream) override { return script(*this); }
    void on_cancelled(extproc::CancelReason reason) override {
      cancelled.push_back(reason);
      alive_when_cancelled = Counted::alive;
      if (throws_when_cancelled) throw std::runtime_error("cannot give up");
    }

    // What a Stream keeps for itself, for the scripts.
    using extproc::Stream<Waiter>::current_body;
    using extproc::Stream<Waiter>::current_headers;
    using extproc::Stream<Waiter>::resume_after;
    using extproc::Stream<Waiter>::run;
    using extproc::Stream<Waiter>::suspend;
    using extproc::Stream<Waiter>::try_suspend;
    using extproc::Stream<Waiter>::wait_for;
  };

  static void reset() {
    script = [](Stream&) { return extproc::proceed(); };
    cancelled.clear();
    alive_when_cancelled = -1;
    throws_when_cancelled = false;
    Counted::alive = 0;
  }

  static inline std::function<extproc::Action(Stream&)> script;
  static inline std::vector<extproc::CancelReason> cancelled;
  static inline int alive_when_cancelled = -1;
  static inline bool throws_when_cancelled = false;
};

inline constexpr extproc_plugin kWaiter = extproc::detail::describe<Waiter>("test.waiter", "1");

}  // namespace extproc_test
