// From a plugin class to the C contract: the descriptor that is derived from it, and the barrier at which
// exceptions become errors.

#include <array>
#include <chrono>
#include <new>
#include <stdexcept>

#include "sdk/tests/fake_host.h"
#include <extproc/plugin.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::detail::describe;
using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Table;
using testing::ElementsAre;
using testing::IsEmpty;

// ---- Descriptors ----

class Nothing : public extproc::Plugin {
 public:
  Nothing(const extproc::Config&, extproc::Host&) {}
  struct Stream : extproc::Stream<Nothing> {
    using extproc::Stream<Nothing>::Stream;
  };
};

class Everything : public extproc::Plugin {
 public:
  Everything(const extproc::Config&, extproc::Host&) {}
  struct Stream : extproc::Stream<Everything> {
    using extproc::Stream<Everything>::Stream;
    using A = extproc::Action;
    A on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override { return extproc::proceed(); }
    A on_request_body(const extproc::Body&, extproc::EndOfStream) override { return extproc::proceed(); }
    A on_request_trailers(extproc::HeaderMap&) override { return extproc::proceed(); }
    A on_response_headers(extproc::HeaderMap&, extproc::EndOfStream) override { return extproc::proceed(); }
    A on_response_body(const extproc::Body&, extproc::EndOfStream) override { return extproc::proceed(); }
    A on_response_trailers(extproc::HeaderMap&) override { return extproc::proceed(); }
    void on_local_reply(extproc::LocalReply&) override {}
  };
};

/// Overrides in a base class of the Stream count too.
class Inherited : public extproc::Plugin {
 public:
  Inherited(const extproc::Config&, extproc::Host&) {}
  struct Common : extproc::Stream<Inherited> {
    using extproc::Stream<Inherited>::Stream;
    extproc::Action on_response_body(const extproc::Body&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
  };
  struct Stream : Common {
    using Common::Common;
    alignas(32) std::array<char, 100> state{};
    extproc::Action on_request_trailers(extproc::HeaderMap&) override { return extproc::proceed(); }
  };
};

TEST(Descriptor, says_what_the_class_overrides) {
  constexpr extproc_plugin kNothing = describe<Nothing>("a.b", "1");
  static_assert(kNothing.phases == 0);
  static_assert(kNothing.request_body_access == EXTPROC_ACCESS_NONE);

  constexpr extproc_plugin kEverything = describe<Everything>("a.b", "1");
  static_assert(kEverything.phases == (1U << EXTPROC_PHASE_COUNT) - 1);
  static_assert(kEverything.request_body_access == EXTPROC_ACCESS_OBSERVE);
  static_assert(kEverything.response_body_access == EXTPROC_ACCESS_OBSERVE);

  constexpr extproc_plugin kInherited = describe<Inherited>("a.b", "1");
  static_assert(kInherited.phases ==
                (EXTPROC_PHASE_BIT(EXTPROC_REQUEST_TRAILERS) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY)));
  static_assert(kInherited.request_body_access == EXTPROC_ACCESS_NONE);
  static_assert(kInherited.response_body_access == EXTPROC_ACCESS_OBSERVE);
  static_assert(kInherited.stream_state_align == 32);
  static_assert(kInherited.stream_state_size == sizeof(Inherited::Stream));

  EXPECT_EQ(kInherited.struct_size, sizeof(extproc_plugin));
  EXPECT_EQ(kInherited.abi_major, EXTPROC_ABI_MAJOR);
  EXPECT_EQ(kInherited.abi_minor, 0);
  EXPECT_STREQ(kInherited.id, "a.b");
  EXPECT_STREQ(kInherited.version, "1");
  EXPECT_STREQ(kInherited.required_extensions[0], EXTPROC_CONFIG_1);
  EXPECT_EQ(kInherited.required_extensions[1], nullptr);
}

class Reading : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr const char* attributes[] = {"source.address", "xds.route_name", nullptr};
  struct Stream : extproc::Stream<Reading> {
    using extproc::Stream<Reading>::Stream;
  };
};

TEST(Descriptor, lists_the_attributes_that_the_class_declares) {
  static constexpr extproc_plugin kReading = describe<Reading>("test.reading", "1");
  ASSERT_NE(kReading.attributes, nullptr);
  EXPECT_STREQ(kReading.attributes[1], "xds.route_name");
  EXPECT_EQ(kReading.attributes[2], nullptr);
  static constexpr extproc_plugin kNothing = describe<Nothing>("test.nothing", "1");
  EXPECT_EQ(kNothing.attributes, nullptr);
}

/// Changes request bodies of two types as a whole, and only looks at response bodies.
class Editing : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kWhole;
  static constexpr const char* request_body_types[] = {"application/json", "text", nullptr};
  struct Stream : extproc::Stream<Editing> {
    using extproc::Stream<Editing>::Stream;
    extproc::Action on_request_body(extproc::Body&, extproc::EndOfStream) noexcept override {
      return extproc::proceed();
    }
    extproc::Action on_response_body(const extproc::Body&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
  };
};

/// Needs the whole body, but only to look at it; the using-declaration brings the other callback along.
class Judging : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr extproc::BodyAccess response_body_access = extproc::BodyAccess::kWhole;
  struct Stream : extproc::Stream<Judging> {
    using extproc::Stream<Judging>::Stream;
    using extproc::Stream<Judging>::on_response_body;
    extproc::Action on_response_body(const extproc::Body&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
  };
};

class Typed : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr const char* response_body_types[] = {"text", nullptr};
  struct Stream : extproc::Stream<Typed> {
    using extproc::Stream<Typed>::Stream;
    extproc::Action on_response_body(const extproc::Body&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
  };
};

TEST(Descriptor, says_what_the_class_does_with_bodies) {
  static constexpr extproc_plugin kEditing = describe<Editing>("test.editing", "1");
  static_assert(kEditing.phases ==
                (EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY)));
  EXPECT_EQ(kEditing.request_body_access, EXTPROC_ACCESS_WHOLE);
  EXPECT_EQ(kEditing.response_body_access, EXTPROC_ACCESS_OBSERVE);
  ASSERT_NE(kEditing.request_body_types, nullptr);
  EXPECT_STREQ(kEditing.request_body_types[1], "text");
  EXPECT_EQ(kEditing.response_body_types, nullptr);

  static constexpr extproc_plugin kJudging = describe<Judging>("test.judging", "1");
  EXPECT_EQ(kJudging.phases, EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY));
  EXPECT_EQ(kJudging.request_body_access, EXTPROC_ACCESS_NONE);
  EXPECT_EQ(kJudging.response_body_access, EXTPROC_ACCESS_WHOLE);
}

TEST(Descriptor, asks_for_a_newer_host_only_where_it_needs_one) {
  static constexpr extproc_plugin kEditing = describe<Editing>("test.editing", "1");
  EXPECT_EQ(kEditing.abi_minor, 1);
  EXPECT_STREQ(kEditing.required_extensions[0], EXTPROC_CONFIG_1);
  EXPECT_STREQ(kEditing.required_extensions[1], EXTPROC_BODY_1);
  EXPECT_EQ(kEditing.required_extensions[2], nullptr);

  static constexpr extproc_plugin kTyped = describe<Typed>("test.typed", "1");
  EXPECT_EQ(kTyped.abi_minor, 1);
  EXPECT_EQ(kTyped.required_extensions[1], nullptr);

  static constexpr extproc_plugin kJudging = describe<Judging>("test.judging", "1");
  EXPECT_EQ(kJudging.abi_minor, 1);
  EXPECT_STREQ(kJudging.required_extensions[1], EXTPROC_BODY_1);

  static constexpr extproc_plugin kEverything = describe<Everything>("a.b", "1");
  EXPECT_EQ(kEverything.abi_minor, 0);
  EXPECT_EQ(kEverything.request_body_types, nullptr);
}

/// Waits, which a plugin finds out about when it tries.
class Waiting : public Nothing {
 public:
  using Nothing::Nothing;
  struct Stream : extproc::Stream<Waiting> {
    using extproc::Stream<Waiting>::Stream;
    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return wait_for(std::chrono::milliseconds(1), [] { return extproc::proceed(); });
    }
    void on_cancelled(extproc::CancelReason) override {}
  };
};

TEST(Descriptor, loads_on_old_hosts_whether_the_plugin_waits_or_not) {
  static constexpr extproc_plugin kWaiting = describe<Waiting>("test.waiting", "1");
  static constexpr extproc_plugin kNothing = describe<Nothing>("a.b", "1");
  EXPECT_EQ(kWaiting.phases, EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS));
  EXPECT_EQ(kNothing.phases, 0U);
  for (const extproc_plugin* plugin : {&kWaiting, &kNothing}) {
    EXPECT_EQ(plugin->abi_minor, 0);
    EXPECT_STREQ(plugin->required_extensions[0], EXTPROC_CONFIG_1);
    EXPECT_EQ(plugin->required_extensions[1], nullptr);
    EXPECT_EQ(plugin->may_block, 0U);
    EXPECT_NE(plugin->on_resumed, nullptr);
    EXPECT_NE(plugin->on_cancelled, nullptr);
  }
}

class Blocking : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr bool may_block = true;
  struct Stream : extproc::Stream<Blocking> {
    using extproc::Stream<Blocking>::Stream;
  };
};

class NeverBlocking : public Nothing {
 public:
  using Nothing::Nothing;
  static constexpr bool may_block = false;
  struct Stream : extproc::Stream<NeverBlocking> {
    using extproc::Stream<NeverBlocking>::Stream;
  };
};

TEST(Descriptor, a_plugin_that_may_block_needs_a_host_with_workers) {
  static constexpr extproc_plugin kBlocking = describe<Blocking>("test.blocking", "1");
  EXPECT_EQ(kBlocking.may_block, 1U);
  EXPECT_EQ(kBlocking.abi_minor, 2);
  EXPECT_EQ(kBlocking.required_extensions[1], nullptr);
  static constexpr extproc_plugin kNeverBlocking = describe<NeverBlocking>("test.blocking", "1");
  EXPECT_EQ(kNeverBlocking.may_block, 0U);
  EXPECT_EQ(kNeverBlocking.abi_minor, 0);
}

TEST(Descriptor, ids_are_checked_by_the_compiler) {
  using extproc::detail::is_id;
  static_assert(is_id("example.tenant-header") && is_id("a") && is_id("a1_.b"));
  static_assert(!is_id("") && !is_id("A") && !is_id("1a") && !is_id("a..b") && !is_id("a.") && !is_id(".a"));
  static_assert(!is_id("a b") &&
                !is_id("0123456789012345678901234567890123456789012345678901234567890123456"));
}

// ---- The barrier ----

/// Throws where and what the configuration says.
class Thrower : public extproc::Plugin {
 public:
  Thrower(const extproc::Config& config, extproc::Host& host)
      : where_(config.string_or("where", "")), what_(config.string_or("what", "std")), host_(host) {
    raise("create");
  }
  ~Thrower() { host_.info("destroyed"); }

  struct Stream : extproc::Stream<Thrower> {
    explicit Stream(const Origin& origin) : extproc::Stream<Thrower>(origin) { plugin().raise("begin"); }
    ~Stream() override { host().info("stream destroyed"); }
    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return at("phase");
    }
    extproc::Action on_request_body(const extproc::Body&, extproc::EndOfStream) override {
      return at("phase");
    }
    extproc::Action on_request_trailers(extproc::HeaderMap&) override { return at("phase"); }
    extproc::Action on_response_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return at("phase");
    }
    extproc::Action on_response_body(const extproc::Body&, extproc::EndOfStream) override {
      return at("phase");
    }
    extproc::Action on_response_trailers(extproc::HeaderMap&) override { return at("phase"); }
    void on_local_reply(extproc::LocalReply&) override { plugin().raise("phase"); }
    void on_end(const extproc::StreamEnd&) override { plugin().raise("end"); }

   private:
    extproc::Action at(const char* place) {
      plugin().raise(place);
      return extproc::proceed();
    }
  };

 private:
  void raise(const std::string& place) const {
    if (place != where_) return;
    if (what_ == "std") throw std::runtime_error("it broke");
    if (what_ == "error") throw extproc::Error(extproc::GrpcCode::kUnavailable, "try later");
    throw 42;
  }

  std::string where_, what_;
  extproc::Host& host_;
};

constexpr extproc_plugin kThrower = describe<Thrower>("test.thrower", "1");

Table throwing(const char* where, const char* what) { return {{"where", where}, {"what", what}}; }

TEST(Barrier, an_exception_in_the_constructor_makes_create_fail_with_its_text) {
  for (const auto& [what, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"std", "it broke"},
           {"error", "try later"},
           {"int", "exception of unknown type in the plugin's constructor"}}) {
    FakeHost host(throwing("create", what));
    const Driver driver(kThrower, host);
    EXPECT_EQ(driver.created, EXTPROC_INVALID);
    EXPECT_THAT(host.errors, ElementsAre(text));
    EXPECT_THAT(host.log_lines, IsEmpty());
  }
}

TEST(Barrier, an_exception_in_a_phase_is_a_failure_with_code_and_text) {
  for (uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    for (const auto& [what, code, text] :
         std::initializer_list<std::tuple<const char*, uint32_t, const char*>>{
             {"std", 2, "it broke"}, {"error", 14, "try later"}, {"int", 2, "exception of unknown type"}}) {
      FakeHost host(throwing("phase", what));
      Driver driver(kThrower, host);
      extproc_call call;
      EXPECT_EQ(driver.run(call, phase), EXTPROC_FAIL);
      EXPECT_EQ(call.failure_code, code);
      EXPECT_EQ(call.failure, text);
    }
  }
}

TEST(Barrier, a_stream_whose_constructor_throws_has_not_begun) {
  FakeHost host(throwing("begin", "error"));
  {
    Driver driver(kThrower, host);
    extproc_call call;
    EXPECT_EQ(driver.begin(call), EXTPROC_FAIL);
    EXPECT_EQ(call.failure_code, 14U);
    EXPECT_EQ(call.failure, "try later");
  }
  EXPECT_THAT(host.log_lines, ElementsAre("2:destroyed"));
}

TEST(Barrier, an_exception_in_on_end_is_logged_and_the_state_still_destroyed) {
  for (const auto& [what, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"std", "4:exception in on_end: it broke"}, {"int", "4:exception in on_end"}}) {
    FakeHost host(throwing("end", what));
    {
      Driver driver(kThrower, host);
      extproc_call call;
      EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
    }
    EXPECT_THAT(host.log_lines, ElementsAre(text, "2:stream destroyed", "2:destroyed"));
  }
}

TEST(Barrier, a_phase_of_a_newer_host_is_passed_over) {
  FakeHost host(throwing("phase", "std"));
  Driver driver(kThrower, host);
  extproc_call call;
  EXPECT_EQ(driver.run(call, 99), EXTPROC_CONTINUE);
}

// ---- Create ----

class Picky : public extproc::Plugin {
 public:
  Picky(const extproc::Config& config, extproc::Host& host)
      : name_(config.required_string("name")),
        count_(config.integer_or("count", 1)),
        made_(host.counter("a", "")) {
    host.info("constructed");
  }
  struct Stream : extproc::Stream<Picky> {
    using extproc::Stream<Picky>::Stream;
  };

 private:
  std::string name_;
  std::int64_t count_;
  extproc::Counter made_;
};

constexpr extproc_plugin kPicky = describe<Picky>("test.picky", "1");

TEST(Create, fails_after_the_constructor_with_every_mistake_of_the_configuration) {
  FakeHost host(Table{{"count", "many"}});
  const Driver driver(kPicky, host);
  EXPECT_EQ(driver.created, EXTPROC_INVALID);
  EXPECT_THAT(host.errors, ElementsAre("required option 'name' is missing: give it a string at table",
                                       "option 'count' must be an integer, found a string at string"));
  EXPECT_THAT(host.log_lines, ElementsAre("2:constructed"));
}

TEST(Create, fails_if_a_metric_cannot_be_made) {
  FakeHost host(Table{{"name", "x"}});
  host.refuse_metrics = true;
  EXPECT_EQ(Driver(kPicky, host).created, EXTPROC_INVALID);
  EXPECT_THAT(host.errors, ElementsAre("bad metric a"));
}

TEST(Create, succeeds_with_what_is_needed) {
  FakeHost host(Table{{"name", "x"}});
  EXPECT_EQ(Driver(kPicky, host).created, EXTPROC_OK);
  EXPECT_THAT(host.errors, IsEmpty());
}

}  // namespace
