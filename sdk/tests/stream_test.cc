// What a plugin can do with a stream, seen from the other side of the C contract.

#include <functional>

#include "sdk/tests/fake_host.h"
#include <extproc/plugin.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using extproc::Action;
using extproc::Body;
using extproc::EndOfStream;
using extproc::GrpcCode;
using extproc::Header;
using extproc::HeaderMap;
using extproc::Headers;
using extproc::Refused;
using extproc::Status;
using extproc_test::Driver;
using extproc_test::FakeHost;
using extproc_test::Map;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;
using testing::Pair;

/// Does in each phase what the test puts here. It looks at request bodies and changes response bodies.
class Scripted : public extproc::Plugin {
 public:
  Scripted(const extproc::Config&, extproc::Host&) {}
  static constexpr extproc::BodyAccess response_body_access = extproc::BodyAccess::kStream;

  struct Stream : extproc::Stream<Scripted> {
    using extproc::Stream<Scripted>::Stream;
    Action on_request_headers(HeaderMap& headers, EndOfStream end) override {
      return on_headers(*this, headers, end);
    }
    Action on_request_body(const Body& body, EndOfStream end) override { return on_body(body, end); }
    Action on_response_body(Body& body, EndOfStream end) override { return on_edit(*this, body, end); }
    Action on_request_trailers(HeaderMap& map) override { return on_headers(*this, map, EndOfStream(true)); }
    void on_local_reply(extproc::LocalReply& reply) override {
      reply.headers().set("x-seen", std::to_string(reply.status()));
    }
    void on_end(const extproc::StreamEnd& end) override { on_stream_end(end); }

    // What a Stream keeps for itself, for the scripts.
    using extproc::Stream<Scripted>::attribute;
    using extproc::Stream<Scripted>::attribute_value;
    using extproc::Stream<Scripted>::begin_reply;
    using extproc::Stream<Scripted>::clear_route_cache;
    using extproc::Stream<Scripted>::extend_timeout;
    using extproc::Stream<Scripted>::facts;
    using extproc::Stream<Scripted>::held_response_headers;
    using extproc::Stream<Scripted>::host;
    using extproc::Stream<Scripted>::last_error;
    using extproc::Stream<Scripted>::metadata;
    using extproc::Stream<Scripted>::metadata_value;
    using extproc::Stream<Scripted>::remove_dynamic_metadata;
    using extproc::Stream<Scripted>::replace_body;
    using extproc::Stream<Scripted>::reply_stream;
    using extproc::Stream<Scripted>::request_headers;
    using extproc::Stream<Scripted>::response_headers;
    using extproc::Stream<Scripted>::set_dynamic_metadata;
    using extproc::Stream<Scripted>::set_typed_dynamic_metadata;
    using extproc::Stream<Scripted>::skip;
    using extproc::Stream<Scripted>::store;
    using extproc::Stream<Scripted>::try_begin_reply;
    using extproc::Stream<Scripted>::try_clear_route_cache;
    using extproc::Stream<Scripted>::try_remove_dynamic_metadata;
    using extproc::Stream<Scripted>::try_replace_body;
    using extproc::Stream<Scripted>::try_set_dynamic_metadata;
    using extproc::Stream<Scripted>::try_set_typed_dynamic_metadata;
    using extproc::Stream<Scripted>::typed_metadata;
    using extproc::Stream<Scripted>::try_extend_timeout;
    using extproc::Stream<Scripted>::try_skip;
  };

  static std::function<Action(Stream&, HeaderMap&, EndOfStream)> on_headers;
  static std::function<Action(const Body&, EndOfStream)> on_body;
  static std::function<Action(Stream&, Body&, EndOfStream)> on_edit;
  static std::function<void(const extproc::StreamEnd&)> on_stream_end;
};

std::function<Action(Scripted::Stream&, HeaderMap&, EndOfStream)> Scripted::on_headers;
std::function<Action(const Body&, EndOfStream)> Scripted::on_body;
std::function<Action(Scripted::Stream&, Body&, EndOfStream)> Scripted::on_edit;
std::function<void(const extproc::StreamEnd&)> Scripted::on_stream_end;

constexpr extproc_plugin kScripted = extproc::detail::describe<Scripted>("test.scripted", "1");

class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    call_.maps[EXTPROC_REQUEST_HEADERS] = {{"a", "1"}, {"b", "2"}, {"a", "3"}};
    Scripted::on_stream_end = [](const extproc::StreamEnd&) {};
  }

  /// Runs `script` as the request headers phase; a script that returns nothing goes on.
  template <typename Script>
  extproc_action in_headers(Script script, uint32_t phase = EXTPROC_REQUEST_HEADERS, uint32_t flags = 0) {
    Scripted::on_headers = [script](Scripted::Stream& stream, HeaderMap& headers, EndOfStream end) -> Action {
      if constexpr (std::is_void_v<decltype(script(stream, headers, end))>) {
        script(stream, headers, end);
        return extproc::proceed();
      } else {
        return script(stream, headers, end);
      }
    };
    return driver_.run(call_, phase, flags);
  }

  /// Runs `script` as the response body phase.
  template <typename Script>
  extproc_action in_body(const std::string& piece, Script script, uint32_t flags = 0) {
    Scripted::on_edit = [script](Scripted::Stream& stream, Body& body, EndOfStream end) -> Action {
      if constexpr (std::is_void_v<decltype(script(stream, body, end))>) {
        script(stream, body, end);
        return extproc::proceed();
      } else {
        return script(stream, body, end);
      }
    };
    return driver_.body(call_, EXTPROC_RESPONSE_BODY, piece, flags);
  }

  FakeHost host_;
  extproc_call call_;
  Driver driver_{kScripted, host_};
};

using S = Scripted::Stream;

TEST_F(StreamTest, headers_are_read) {
  in_headers([](S&, HeaderMap& headers, EndOfStream end) {
    EXPECT_FALSE(end);
    EXPECT_TRUE(headers.present());
    EXPECT_EQ(headers.size(), 3U);
    EXPECT_THAT(headers.first("A"), Optional(std::string_view("1")));
    EXPECT_EQ(headers.first("c"), std::nullopt);
    EXPECT_THAT(headers.all("A"), ElementsAre("1", "3"));
    EXPECT_TRUE(headers.contains("b"));
    std::string seen;
    for (const Header& header : headers)
      seen += std::string(header.name) + "=" + std::string(header.value) + ";";
    for (const auto [name, value] : headers) seen += std::string(name) + std::string(value);
    EXPECT_EQ(seen, "a=1;b=2;a=3;a1b2a3");
  });
}

TEST_F(StreamTest, headers_are_edited) {
  EXPECT_EQ(in_headers([](S&, HeaderMap& headers, EndOfStream) {
              headers.set("A", "new");
              headers.add("b", "more");
              headers.remove("nowhere");
              EXPECT_TRUE(headers.set_if_absent("c", "x"));
              EXPECT_FALSE(headers.set_if_absent("c", "y"));
              EXPECT_TRUE(headers.set_if_present("c", "z"));
              EXPECT_FALSE(headers.set_if_present("d", "z"));
              EXPECT_EQ(headers.try_remove("b"), Status::kOk);
            }),
            EXTPROC_CONTINUE);
  EXPECT_EQ(call_.maps[EXTPROC_REQUEST_HEADERS], (Map{{"a", "new"}, {"c", "z"}}));
}

TEST_F(StreamTest, a_refused_edit_throws_or_returns_its_status) {
  call_.refused = {{"host", EXTPROC_FORBIDDEN}, {"bad", EXTPROC_INVALID}};
  in_headers([](S& stream, HeaderMap& headers, EndOfStream) {
    EXPECT_EQ(headers.try_set("host", "x"), Status::kForbidden);
    EXPECT_EQ(headers.last_error(), "refused by the test");
    EXPECT_EQ(stream.last_error(), "refused by the test");
    EXPECT_EQ(headers.try_add("bad", "x"), Status::kInvalid);
    EXPECT_EQ(headers.try_remove("host"), Status::kForbidden);
    try {
      headers.set("host", "x");
      ADD_FAILURE() << "not refused";
    } catch (const Refused& refused) {
      EXPECT_EQ(refused.status(), Status::kForbidden);
      EXPECT_STREQ(refused.what(), "set 'host': forbidden: refused by the test");
    }
    EXPECT_THROW(headers.add("bad", "x"), Refused);
    EXPECT_THROW(headers.remove("host"), Refused);
    EXPECT_THROW(headers.set_if_absent("host", "x"), Refused);
  });
}

TEST_F(StreamTest, a_refusal_that_is_not_caught_is_a_failure) {
  call_.refused = {{"host", EXTPROC_FORBIDDEN}};
  EXPECT_EQ(in_headers([](S&, HeaderMap& headers, EndOfStream) { headers.set("host", "x"); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 2U);
  EXPECT_EQ(call_.failure, "set 'host': forbidden: refused by the test");
}

TEST_F(StreamTest, other_maps_can_be_read_and_one_that_has_not_come_is_empty) {
  call_.maps[EXTPROC_REQUEST_TRAILERS] = {{"t", "1"}};
  in_headers(
      [](S& stream, HeaderMap& trailers, EndOfStream) {
        EXPECT_TRUE(trailers.contains("t"));
        EXPECT_THAT(stream.request_headers().first("b"), Optional(std::string_view("2")));
        const Headers response = stream.response_headers();
        EXPECT_FALSE(response.present());
        EXPECT_TRUE(response.empty());
        EXPECT_EQ(response.first("a"), std::nullopt);
        EXPECT_THAT(response.all("a"), IsEmpty());
        for (const Header& header : response) ADD_FAILURE() << header.name;
      },
      EXTPROC_REQUEST_TRAILERS);
}

TEST_F(StreamTest, end_of_stream_is_passed_on) {
  in_headers([](S&, HeaderMap&, EndOfStream end) { EXPECT_TRUE(end); }, EXTPROC_REQUEST_HEADERS,
             EXTPROC_END_OF_STREAM | 0x80U);
}

TEST_F(StreamTest, a_body_is_slices_or_one_view) {
  call_.body = {"one ", "", "two"};
  Scripted::on_body = [](const Body& body, EndOfStream end) {
    EXPECT_TRUE(end);
    EXPECT_EQ(body.slice_count(), 3U);
    EXPECT_EQ(body.slice(2), "two");
    EXPECT_EQ(body.size(), 7U);
    EXPECT_EQ(body.view(), "one two");
    EXPECT_EQ(body.view().data(), body.view().data());
    std::string text = "> ";
    body.append_to(text);
    EXPECT_EQ(text, "> one two");
    return extproc::proceed();
  };
  EXPECT_EQ(driver_.run(call_, EXTPROC_REQUEST_BODY, EXTPROC_END_OF_STREAM), EXTPROC_CONTINUE);
  call_.body = {};
  Scripted::on_body = [](const Body& body, EndOfStream) {
    EXPECT_TRUE(body.empty());
    EXPECT_EQ(body.view(), "");
    return extproc::proceed();
  };
  driver_.run(call_, EXTPROC_REQUEST_BODY);
}

TEST_F(StreamTest, the_end_of_a_body_is_told_whether_trailers_follow_or_not) {
  for (const auto& [flags, ends] : std::initializer_list<std::pair<uint32_t, bool>>{
           {EXTPROC_END_OF_STREAM, true}, {EXTPROC_END_OF_BODY, true}, {EXTPROC_PARTIAL_BODY, false}}) {
    in_body("x", [&, wanted = ends](S&, Body&, EndOfStream end) { EXPECT_EQ(bool(end), wanted); }, flags);
  }
}

TEST_F(StreamTest, a_body_says_whether_it_is_a_part_and_whether_it_is_compressed) {
  in_body(
      "x",
      [](S&, Body& body, EndOfStream) {
        EXPECT_TRUE(body.partial());
        EXPECT_FALSE(body.compressed());
      },
      EXTPROC_PARTIAL_BODY);
  in_body(
      "x",
      [](S&, Body& body, EndOfStream) {
        EXPECT_FALSE(body.partial());
        EXPECT_TRUE(body.compressed());
      },
      EXTPROC_COMPRESSED_MESSAGE);
}

TEST_F(StreamTest, a_body_is_replaced_cleared_and_appended_to) {
  in_body("old", [](S&, Body& body, EndOfStream) { body.replace("new"); });
  EXPECT_THAT(call_.sent, ElementsAre("new"));
  in_body("gone", [](S&, Body& body, EndOfStream) { body.clear(); });
  EXPECT_THAT(call_.sent, ElementsAre("new"));
  in_body("kept", [](S&, Body& body, EndOfStream) { body.append("more"); });
  EXPECT_THAT(call_.sent, ElementsAre("new", "kept", "more"));
}

TEST_F(StreamTest, a_body_is_cut_anew_and_what_is_left_goes_on) {
  in_body("one two three", [](S&, Body& body, EndOfStream) {
    body.forward(4);
    body.drop(3);
    body.write("2");
    EXPECT_EQ(body.view(), "one two three");
  });
  EXPECT_THAT(call_.sent, ElementsAre("one ", "2", " three"));
}

TEST_F(StreamTest, what_is_held_stands_before_the_next_piece) {
  EXPECT_EQ(in_body("abc",
                    [](S&, Body& body, EndOfStream) {
                      body.forward(1);
                      return extproc::hold();
                    }),
            EXTPROC_HOLD);
  EXPECT_THAT(call_.sent, ElementsAre("a"));
  in_body("def", [](S&, Body& body, EndOfStream) {
    EXPECT_EQ(body.slice_count(), 2U);
    EXPECT_EQ(body.view(), "bcdef");
  });
  EXPECT_EQ(call_.sent_text(), "abcdef");
}

TEST_F(StreamTest, a_refused_change_of_a_body_throws_or_returns_its_status_and_changes_nothing) {
  call_.write_status = EXTPROC_LIMIT;
  in_body("old", [](S& stream, Body& body, EndOfStream) {
    EXPECT_EQ(body.try_write("x"), Status::kLimit);
    EXPECT_EQ(stream.last_error(), "no more bytes");
    EXPECT_EQ(body.try_replace("x"), Status::kLimit);
    EXPECT_EQ(body.try_append("x"), Status::kLimit);
    EXPECT_THROW(body.write("x"), Refused);
    EXPECT_THROW(body.append("x"), Refused);
    EXPECT_THROW(body.replace("x"), Refused);
  });
  EXPECT_THAT(call_.sent, ElementsAre("old"));
  call_.grpc = true;
  EXPECT_EQ(in_body("message", [](S&, Body& body, EndOfStream) { body.forward(1); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "forward of the body: unsupported: whole messages only");
  in_body("message", [](S&, Body& body, EndOfStream) { EXPECT_THROW(body.drop(1), Refused); });
}

TEST_F(StreamTest, headers_that_are_held_can_be_edited_in_a_body_phase) {
  call_.maps[EXTPROC_RESPONSE_HEADERS] = {{"a", "1"}};
  in_body("x", [](S& stream, Body&, EndOfStream) {
    EXPECT_EQ(stream.held_response_headers().try_set("a", "2"), Status::kTooLate);
  });
  call_.headers_held = true;
  in_body("x", [](S& stream, Body& body, EndOfStream) {
    stream.held_response_headers().set("size", std::to_string(body.size()));
  });
  EXPECT_EQ(call_.maps[EXTPROC_RESPONSE_HEADERS], (Map{{"a", "1"}, {"size", "1"}}));
}

TEST_F(StreamTest, headers_are_held) {
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) { return extproc::hold(); }), EXTPROC_HOLD);
  host_.abi_minor = 0;
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) { return extproc::hold(); }), EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "hold: unsupported: this server is too old, it speaks contract 1.0");
}

TEST_F(StreamTest, phases_are_skipped) {
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    stream.skip(extproc::Phase::kResponseHeaders, extproc::Phase::kResponseTrailers);
    stream.skip(extproc::Phase::kRequestTrailers);
  });
  EXPECT_EQ(call_.skipped, EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) |
                               EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS) |
                               EXTPROC_PHASE_BIT(EXTPROC_REQUEST_TRAILERS));
}

TEST_F(StreamTest, the_timeout_is_extended_once) {
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    EXPECT_EQ(stream.try_extend_timeout(std::chrono::milliseconds(0)), Status::kInvalid);
    EXPECT_EQ(stream.try_extend_timeout(std::chrono::milliseconds(-5)), Status::kInvalid);
    stream.extend_timeout(std::chrono::seconds(2));
    EXPECT_THROW(stream.extend_timeout(std::chrono::seconds(3)), Refused);
  });
  EXPECT_EQ(call_.extended_ms, 2000U);
}

TEST_F(StreamTest, a_reply_is_written_in_pieces) {
  EXPECT_EQ(in_headers([](S& stream, HeaderMap&, EndOfStream) -> Action {
              extproc::ReplyStream reply =
                  stream.begin_reply(extproc::reply(200, "first").header("content-type", "text/plain"));
              reply.write("second");
              return reply;
            }),
            EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 200U);
  EXPECT_EQ(call_.reply_text, "first||-1|content-type=text/plain");
  in_body("x", [](S& stream, Body& body, EndOfStream) {
    stream.reply_stream().write(body.view());
    EXPECT_EQ(stream.try_begin_reply(extproc::reply(200)), Status::kTooLate);
    EXPECT_THROW(stream.begin_reply(extproc::reply(200)), Refused);
    stream.reply_stream().end({{"x-pieces", "3"}});
    EXPECT_EQ(stream.reply_stream().try_end(), Status::kTooLate);
    EXPECT_THROW(stream.reply_stream().write("late"), Refused);
  });
  EXPECT_THAT(call_.reply_pieces, ElementsAre("second", "x"));
  EXPECT_EQ(call_.reply_trailers, (Map{{"x-pieces", "3"}}));
  EXPECT_TRUE(call_.reply_ended);
}

TEST_F(StreamTest, a_reply_that_is_sent_as_one_ends_without_trailers) {
  call_.takes_pieces = false;
  in_headers([](S& stream, HeaderMap&, EndOfStream) -> Action {
    extproc::ReplyStream reply = stream.begin_reply(extproc::reply(200));
    EXPECT_EQ(reply.try_end({{"a", "b"}}), Status::kUnsupported);
    return reply;
  });
  EXPECT_TRUE(call_.reply_ended);
  EXPECT_THAT(call_.reply_trailers, IsEmpty());
}

TEST_F(StreamTest, a_reply_reaches_the_host_whole) {
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) -> Action {
              return extproc::reply(403, "no\n")
                  .header("x-why", "quota")
                  .header("x-why", "again")
                  .details("quota_exceeded")
                  .grpc_status(GrpcCode::kPermissionDenied);
            }),
            EXTPROC_REPLY);
  EXPECT_EQ(call_.replied, 403U);
  EXPECT_EQ(call_.reply_text, "no\n|quota_exceeded|7|x-why=quota|x-why=again");
  in_headers([](S&, HeaderMap&, EndOfStream) -> Action {
    extproc::Reply reply = extproc::reply(204);
    reply.header("a", "b");
    return reply;
  });
  EXPECT_EQ(call_.reply_text, "||-1|a=b");
}

TEST_F(StreamTest, a_reply_that_the_host_refuses_is_a_failure) {
  call_.reply_status = EXTPROC_TOO_LATE;
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) -> Action { return extproc::reply(403); }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure, "immediate response: too late: no reply now");
}

TEST_F(StreamTest, fail_and_finish) {
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) { return extproc::fail(GrpcCode::kInternal, "why"); }),
            EXTPROC_FAIL);
  EXPECT_EQ(call_.failure_code, 13U);
  EXPECT_EQ(call_.failure, "why");
  EXPECT_EQ(in_headers([](S&, HeaderMap&, EndOfStream) { return extproc::finish(); }), EXTPROC_FINISH);
}

TEST_F(StreamTest, facts_are_those_of_the_host) {
  const extproc_header metadata[] = {{extproc_test::str("x-chain"), extproc_test::str("strict")}};
  call_.facts.id = 7;
  call_.facts.peer = extproc_test::str("ipv4:1.2.3.4:5");
  call_.facts.chain = extproc_test::str("default");
  call_.facts.request_body_mode = EXTPROC_BODY_BUFFERED;
  call_.facts.response_body_mode = EXTPROC_BODY_UNKNOWN;
  call_.facts.observability = 1;
  call_.facts.metadata = metadata;
  call_.facts.metadata_count = 1;
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    const extproc::StreamFacts facts = stream.facts();
    EXPECT_EQ(facts.id(), 7U);
    EXPECT_EQ(facts.peer(), "ipv4:1.2.3.4:5");
    EXPECT_EQ(facts.chain(), "default");
    EXPECT_EQ(facts.request_body_mode(), extproc::BodyMode::kBuffered);
    EXPECT_EQ(facts.response_body_mode(), extproc::BodyMode::kUnknown);
    EXPECT_TRUE(facts.observability());
    EXPECT_EQ(facts.grpc_metadata().size(), 1U);
    EXPECT_THAT(facts.grpc_metadata("X-Chain"), Optional(std::string_view("strict")));
    EXPECT_EQ(facts.grpc_metadata("other"), std::nullopt);
  });
}

TEST_F(StreamTest, attributes_metadata_and_store) {
  call_.attributes = {{"xds.route_name", "r1"}, {"envoy.lb/key", "v"}};
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    EXPECT_THAT(stream.attribute("xds.route_name"), Optional(std::string_view("r1")));
    EXPECT_EQ(stream.attribute("other"), std::nullopt);
    EXPECT_THAT(stream.metadata("envoy.lb", "key"), Optional(std::string_view("v")));
    stream.set_dynamic_metadata("ns", "text", "t");
    stream.set_dynamic_metadata("ns", "string", std::string("s"));
    stream.set_dynamic_metadata("ns", "number", 3);
    stream.set_dynamic_metadata("ns", "flag", true);
    EXPECT_EQ(stream.try_set_dynamic_metadata("", "k", "v"), Status::kInvalid);
    EXPECT_THROW(stream.set_dynamic_metadata("", "k", "v"), Refused);

    extproc::Store store = stream.store();
    EXPECT_EQ(store.get("k"), std::nullopt);
    store.set("k", "v");
    EXPECT_THAT(store.get("k"), Optional(std::string_view("v")));
    EXPECT_TRUE(store.remove("k"));
    EXPECT_FALSE(store.remove("k"));
    EXPECT_EQ(store.try_set("k", std::string(70000, 'x')), Status::kLimit);
    EXPECT_THROW(store.set("k", std::string(70000, 'x')), Refused);
  });
  EXPECT_THAT(call_.dynamic_metadata,
              ElementsAre(Pair("ns/flag", "true"), Pair("ns/number", "number 3.000000"),
                          Pair("ns/string", "string s"), Pair("ns/text", "string t")));
}

TEST_F(StreamTest, attributes_and_metadata_are_values) {
  call_.values["flag"] = {true};
  call_.values["number"] = {2.5};
  call_.values["text"] = {std::string("t")};
  call_.values["null"] = {};
  call_.values["io.x/"] = {
      extproc_value::Struct{{"b", {extproc_value::List{{1.0}, {std::string("two")}}}}, {"a", {}}}};
  call_.values["io.x/b"] = {extproc_value::List{{1.0}}};
  call_.typed_metadata["io.t"] = {"t/u", "bytes"};
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    EXPECT_FALSE(stream.attribute_value("absent"));
    EXPECT_THAT(stream.attribute_value("flag")->as_bool(), Optional(true));
    EXPECT_THAT(stream.attribute_value("number")->as_number(), Optional(2.5));
    EXPECT_THAT(stream.attribute_value("text")->as_string(), Optional(std::string_view("t")));
    EXPECT_TRUE(stream.attribute_value("null")->is_null());
    const extproc::Value text = *stream.attribute_value("text");
    EXPECT_EQ(text.type(), extproc::ValueType::kString);
    EXPECT_EQ(text.as_bool(), std::nullopt);
    EXPECT_EQ(text.as_number(), std::nullopt);
    EXPECT_EQ(text.size(), 0U);
    EXPECT_EQ(text.begin(), text.end());
    EXPECT_TRUE(text["key"].is_null());
    EXPECT_EQ(stream.attribute_value("flag")->as_string(), std::nullopt);

    EXPECT_FALSE(stream.metadata_value("io.y"));
    EXPECT_EQ(stream.metadata_value("io.x", "b")->size(), 1U);
    const extproc::Value space = *stream.metadata_value("io.x");
    EXPECT_EQ(space.type(), extproc::ValueType::kStruct);
    EXPECT_THAT(space["b"].at(1).as_string(), Optional(std::string_view("two")));
    EXPECT_TRUE(space["b"].at(2)["deeper"].at(0).is_null());
    EXPECT_TRUE(space.find("a")->is_null());
    EXPECT_FALSE(space.find("c"));
    std::string seen;
    for (const auto& [key, value] : space) {
      seen += std::string(key) + ":" + std::to_string(value.size()) + ";";
      for (const extproc::ValueEntry& entry : value) seen += "[" + std::string(entry.key) + "]";
    }
    EXPECT_EQ(seen, "a:0;b:2;[][]");

    EXPECT_FALSE(stream.typed_metadata("io.x"));
    EXPECT_EQ(stream.typed_metadata("io.t")->type_url, "t/u");
    EXPECT_EQ(stream.typed_metadata("io.t")->message, "bytes");

    const extproc::Value none;
    EXPECT_TRUE(none.is_null());
    EXPECT_EQ(none.begin(), none.end());
    EXPECT_TRUE(none["a"].at(0).is_null());
    EXPECT_FALSE(none.find("a"));
    EXPECT_EQ(none.as_bool(), std::nullopt);
    EXPECT_EQ(none.as_number(), std::nullopt);
    EXPECT_EQ(none.as_string(), std::nullopt);
  });
}

TEST_F(StreamTest, any_value_is_set_and_taken_back) {
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    const std::string list = "[1]";
    stream.set_dynamic_metadata("ns", "list", extproc::Json{list});
    stream.set_dynamic_metadata("ns", "gone", extproc::Json{"{}"});
    stream.set_typed_dynamic_metadata("typed", "t/u", "message");
    stream.set_typed_dynamic_metadata("gone", "t/u", "message");
    EXPECT_TRUE(stream.remove_dynamic_metadata("ns", "gone"));
    EXPECT_TRUE(stream.remove_dynamic_metadata("gone"));
    EXPECT_FALSE(stream.remove_dynamic_metadata("gone"));
    EXPECT_EQ(stream.try_remove_dynamic_metadata("gone", "k"), Status::kNotFound);
    EXPECT_EQ(stream.try_set_dynamic_metadata("ns", "k", extproc::Json{""}), Status::kInvalid);
    EXPECT_EQ(stream.try_set_typed_dynamic_metadata("ns", "", "m"), Status::kInvalid);
    EXPECT_EQ(stream.last_error(), "no type URL");
    EXPECT_THROW(stream.set_dynamic_metadata("ns", "k", extproc::Json{""}), Refused);
    EXPECT_THROW(stream.set_typed_dynamic_metadata("ns", "", "m"), Refused);
  });
  EXPECT_THAT(call_.dynamic_metadata,
              ElementsAre(Pair("ns/list", "json [1]"), Pair("typed", "typed t/u message")));
}

TEST_F(StreamTest, taking_metadata_back_may_be_refused) {
  call_.remove_metadata_status = EXTPROC_TOO_LATE;
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    EXPECT_EQ(stream.try_remove_dynamic_metadata("ns"), Status::kTooLate);
    EXPECT_THROW(stream.remove_dynamic_metadata("ns"), Refused);
  });
}

TEST_F(StreamTest, the_body_is_replaced_and_the_route_chosen_anew) {
  in_headers([](S& stream, HeaderMap&, EndOfStream) {
    stream.replace_body("new");
    stream.clear_route_cache();
  });
  EXPECT_EQ(call_.replacement, "new");
  EXPECT_TRUE(call_.route_cache_cleared);
  call_.replace_body_status = EXTPROC_UNSUPPORTED;
  in_headers(
      [](S& stream, HeaderMap&, EndOfStream) {
        EXPECT_EQ(stream.try_replace_body("x"), Status::kUnsupported);
        EXPECT_EQ(stream.try_clear_route_cache(), Status::kUnsupported);
        EXPECT_THROW(stream.replace_body("x"), Refused);
        EXPECT_THROW(stream.clear_route_cache(), Refused);
      },
      EXTPROC_REQUEST_TRAILERS);
}

TEST_F(StreamTest, a_local_reply_can_be_read_and_edited) {
  for (const auto& [status, seen] : std::initializer_list<std::pair<const char*, const char*>>{
           {"403", "403"}, {"4o3", "0"}, {"99999999999", "0"}, {"", "0"}}) {
    call_.maps[EXTPROC_LOCAL_REPLY] = {{":status", status}};
    EXPECT_EQ(driver_.run(call_, EXTPROC_LOCAL_REPLY), EXTPROC_CONTINUE);
    EXPECT_EQ(call_.maps[EXTPROC_LOCAL_REPLY], (Map{{":status", status}, {"x-seen", seen}}));
  }
  call_.maps.erase(EXTPROC_LOCAL_REPLY);
  driver_.run(call_, EXTPROC_LOCAL_REPLY);
  EXPECT_EQ(call_.maps[EXTPROC_LOCAL_REPLY], (Map{{"x-seen", "0"}}));
}

TEST_F(StreamTest, on_end_says_how_and_how_long) {
  bool ended = false;
  Scripted::on_stream_end = [&](const extproc::StreamEnd& end) {
    ended = true;
    EXPECT_EQ(end.reason(), extproc::EndReason::kCancelled);
    EXPECT_EQ(end.grpc_status(), GrpcCode::kCancelled);
    EXPECT_EQ(end.response_status(), 503U);
    EXPECT_EQ(end.duration(), std::chrono::nanoseconds(2000));
    EXPECT_EQ(end.plugin_duration(), std::chrono::nanoseconds(1000));
  };
  in_headers([](S&, HeaderMap&, EndOfStream) {});
  driver_.end(EXTPROC_END_CANCELLED);
  EXPECT_TRUE(ended);
}

TEST(StreamWithoutExtensions, finds_nothing_and_says_unsupported) {
  FakeHost poor;
  poor.has_extensions = false;
  Driver driver(kScripted, poor);
  ASSERT_EQ(driver.created, EXTPROC_OK);
  Scripted::on_stream_end = [](const extproc::StreamEnd&) {};
  Scripted::on_headers = [](S& stream, HeaderMap&, EndOfStream) {
    EXPECT_EQ(stream.attribute("a"), std::nullopt);
    EXPECT_EQ(stream.metadata("a", "b"), std::nullopt);
    EXPECT_EQ(stream.try_set_dynamic_metadata("a", "b", true), Status::kUnsupported);
    EXPECT_FALSE(stream.attribute_value("a"));
    EXPECT_FALSE(stream.metadata_value("a", "b"));
    EXPECT_FALSE(stream.typed_metadata("a"));
    EXPECT_EQ(stream.try_set_dynamic_metadata("a", "b", extproc::Json{"1"}), Status::kUnsupported);
    EXPECT_EQ(stream.try_set_typed_dynamic_metadata("a", "t/u", ""), Status::kUnsupported);
    EXPECT_EQ(stream.try_remove_dynamic_metadata("a"), Status::kUnsupported);
    EXPECT_EQ(stream.store().try_set("a", "b"), Status::kUnsupported);
    EXPECT_EQ(stream.store().get("a"), std::nullopt);
    EXPECT_FALSE(stream.store().remove("a"));
    EXPECT_EQ(stream.try_skip(extproc::Phase::kRequestBody), Status::kUnsupported);
    EXPECT_EQ(stream.try_extend_timeout(std::chrono::seconds(1)), Status::kUnsupported);
    EXPECT_EQ(stream.try_begin_reply(extproc::reply(200)), Status::kUnsupported);
    EXPECT_EQ(stream.reply_stream().try_write("x"), Status::kUnsupported);
    EXPECT_EQ(stream.reply_stream().try_end(), Status::kUnsupported);
    return extproc::proceed();
  };
  Scripted::on_edit = [](S&, Body& body, EndOfStream) {
    EXPECT_EQ(body.try_write("x"), Status::kUnsupported);
    EXPECT_EQ(body.try_forward(1), Status::kUnsupported);
    EXPECT_EQ(body.try_drop(1), Status::kUnsupported);
    return extproc::proceed();
  };
  extproc_call call;
  EXPECT_EQ(driver.body(call, EXTPROC_RESPONSE_BODY, "x"), EXTPROC_CONTINUE);
  EXPECT_EQ(driver.run(call, EXTPROC_REQUEST_HEADERS), EXTPROC_CONTINUE);
}

}  // namespace
