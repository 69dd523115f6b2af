// Mistakes that the compiler must tell in plain words. MISTAKE is the number of the one that is made; 0 is none.
#include <extproc/plugin.hpp>
#if MISTAKE > 12
#include <extproc/coroutine.hpp>
#endif

using extproc::Action;
using extproc::Body;
using extproc::BodyAccess;
using extproc::EndOfStream;

class Mistaken : public extproc::Plugin {
 public:
  Mistaken(const extproc::Config&, extproc::Host&) {}

#if MISTAKE == 0
  static constexpr BodyAccess request_body_access = BodyAccess::kWhole;
  static constexpr const char* request_body_types[] = {"application/json", "text", nullptr};
#elif MISTAKE == 2
  static constexpr BodyAccess response_body_access = BodyAccess::kStream;
#elif MISTAKE == 3
  static constexpr BodyAccess request_body_access = BodyAccess::kObserve;
#elif MISTAKE == 4
  static constexpr int request_body_access = 3;
#elif MISTAKE == 5
  static constexpr const char* response_body_types[] = {"text", nullptr};
#elif MISTAKE == 6
  static constexpr const char* request_body_types[] = {"text"};
#elif MISTAKE == 7
  static constexpr const char* request_body_types[] = {nullptr};
#elif MISTAKE == 11
  static constexpr BodyAccess request_body_access = BodyAccess::kWhole;
  static constexpr int may_block = 1;
#elif MISTAKE > 11
  static constexpr BodyAccess request_body_access = BodyAccess::kWhole;
#endif

  struct Stream : extproc::Stream<Mistaken> {
    using extproc::Stream<Mistaken>::Stream;
#if MISTAKE == 8
   private:
#endif
#if MISTAKE == 9
    Action on_request_body(Body&, int) { return extproc::proceed(); }
#elif MISTAKE == 4 || MISTAKE == 6 || MISTAKE == 7
    Action on_request_body(const Body&, EndOfStream) override { return extproc::proceed(); }
#elif MISTAKE == 10
    Action on_request_body(const Body&, EndOfStream) override { return extproc::proceed(); }
    Action on_request_body(Body&, EndOfStream) override { return extproc::proceed(); }
#elif MISTAKE == 12
    Action on_request_body(Body&, EndOfStream) override {
      return suspend([](extproc::Resume resume) { resume([] { return 1; }); });
    }
#elif MISTAKE == 15
    extproc::Task waits() {
      co_await std::suspend_always();
      co_return extproc::proceed();
    }
    Action on_request_body(Body&, EndOfStream) override { return run(waits()); }
#elif MISTAKE == 16
    extproc::Task waits(std::string text) {
      co_await extproc::async<void>([text](extproc::Completion<void> done) { done(); });
      co_return extproc::proceed();
    }
    Action on_request_body(Body&, EndOfStream) override { return run(waits("")); }
#elif MISTAKE != 2 && MISTAKE != 5
    Action on_request_body(Body& body, EndOfStream) override {
      body.clear();
      return extproc::proceed();
    }
#endif
  };
};

EXTPROC_EXPORT_PLUGIN(Mistaken, "test.mistaken", "1")
