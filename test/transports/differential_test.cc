// The same bytes into both transports, with the same services behind them: whatever a client can tell apart must be the
// same, but for what is listed below. grpc++ is 1.51.

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "core/engine/process_service.h"
#include "core/server/transport.h"
#include "core/telemetry/log.h"
#include "core/telemetry/registry.h"
#include "test/conformance/scenario.h"
#include "test/model/conversation.h"
#include "test/support/http2_client.h"
#include "test/support/loaded_generation.h"

namespace extprocd::test {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using transport::Services;

constexpr std::string_view kScript = "/test.Script/Do";
constexpr uint64_t kMaxMessage = 100'000;

/// What a client sends on one stream.
struct Case {
  std::string name;
  Fields head;
  bool end_in_head = false;
  /// Sends the rest, to the stream's end.
  std::function<void(Http2Client& client, int32_t stream)> rest = [](Http2Client&, int32_t) {};
};

/// Where the transports differ and the native one is right, or the specification leaves it open. A line that is not
/// true any more fails the test.
struct Difference {
  const char* name;
  const char* native;  ///< its outcome
  const char* reason;
  bool grpc_answers = true;  ///< else it is not asked: it would be waited for in vain
};
constexpr Difference kDifferences[] = {
    {"ends with trailers", "HTTP 200; application/grpc; message 'a'; status 0 ''",
     "grpc++ does not take a client's trailers for its end", false},
    {"padded", "HTTP 200; application/grpc; message 'a'; status 0 ''",
     "after padding grpc++ answers nobody any more", false},
    {"a message cut off",
     "HTTP 200; application/grpc; message 'a'; status 13 'the stream ended within a message'",
     "grpc++ never answers", false},
    {"nothing, flagged as gzip",
     "HTTP 200; application/grpc; status 13 'the compressed message is not one gzip member'",
     "an empty text is no gzip member"},
    {"identity named, flagged",
     "HTTP 200; application/grpc; status 13 'a compressed message without grpc-encoding'",
     "gRPC: a compressed message without an encoding is INTERNAL"},
    {"nothing named, flagged",
     "HTTP 200; application/grpc; status 13 'a compressed message without grpc-encoding'",
     "gRPC: a compressed message without an encoding is INTERNAL"},
    {"deflate named",
     "HTTP 200; application/grpc; status 12 'grpc-encoding may be identity or gzip, not deflate'",
     "gRPC: an encoding that is not supported is UNIMPLEMENTED"},
    {"unknown encoding",
     "HTTP 200; application/grpc; status 12 'grpc-encoding may be identity or gzip, not snappy'",
     "gRPC: an encoding that is not supported is UNIMPLEMENTED"},
    {"gzip with bytes behind",
     "HTTP 200; application/grpc; status 13 'the compressed message is not one gzip member'",
     "grpc++ resets without a status"},
    {"two gzip members",
     "HTTP 200; application/grpc; status 13 'the compressed message is not one gzip member'",
     "grpc++ resets without a status"},
    {"gzip cut short",
     "HTTP 200; application/grpc; status 13 'the compressed message is not one gzip member'",
     "grpc++ resets without a status"},
    {"no gzip", "HTTP 200; application/grpc; status 13 'the compressed message is not one gzip member'",
     "grpc++ resets without a status"},
    {"flags 2", "HTTP 200; application/grpc; status 13 'a message with unknown flags'",
     "grpc++ loses the message and goes on"},
    {"flags 3", "HTTP 200; application/grpc; status 13 'a message with unknown flags'",
     "grpc++ loses the message and goes on"},
    {"flags 128", "HTTP 200; application/grpc; status 13 'a message with unknown flags'",
     "grpc++ loses the message and goes on"},
    {"flags 255", "HTTP 200; application/grpc; status 13 'a message with unknown flags'",
     "grpc++ loses the message and goes on"},
    {"flags 2, gzip", "HTTP 200; application/grpc; status 13 'a message with unknown flags'",
     "grpc++ loses the message and goes on"},
    {"length of 4 GiB", "HTTP 200; application/grpc; status 8 '(too large)'",
     "grpc++ loses the message and goes on"},
    {"timeout '1'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout 'S'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout '1s'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout '-1S'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout 'abc'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout '123456789S'", "HTTP 200; application/grpc; status 13 'grpc-timeout is malformed'",
     "grpc++ waits for ever where the client meant a deadline"},
    {"timeout ' 1H'", "RST_STREAM 1", "HTTP/2 allows no spaces around a value"},
    {"timeout '1H '", "RST_STREAM 1", "HTTP/2 allows no spaces around a value"},
    {"reserved names", "HTTP 200; application/grpc; message 'x-grpc-=1;'; status 0 ''",
     "gRPC keeps names in grpc- for itself"},
    {"binary 'YQ==,YWI='", "HTTP 200; application/grpc; message 'x-a-bin=a;x-a-bin=ab;'; status 0 ''",
     "gRPC: values may be joined by commas"},
    {"binary 'YQ,YWI'", "HTTP 200; application/grpc; message 'x-a-bin=a;x-a-bin=ab;'; status 0 ''",
     "gRPC: values may be joined by commas"},
    {"binary ','", "HTTP 200; application/grpc; message 'x-a-bin=;x-a-bin=;'; status 0 ''",
     "gRPC: values may be joined by commas"},
    {"binary 'YQ,'", "HTTP 200; application/grpc; message 'x-a-bin=a;x-a-bin=;'; status 0 ''",
     "gRPC: values may be joined by commas"},
    {"binary '%'", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'Y'", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'YQ==YQ=='", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'A-_A'", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'YQ..'", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'Y Q='", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "grpc++ fails the stream as UNAVAILABLE, or closes the connection"},
    {"binary 'YQ='", "HTTP 200; application/grpc; status 13 'the value of x-a-bin is not base64'",
     "base64 with half its padding"},
    {"binary 'YR=='", "HTTP 200; application/grpc; message 'x-a-bin=a;'; status 0 ''",
     "bits that mean nothing are left alone"},
    {"content-type 'application/grpc-web'",
     "HTTP 415; allow: POST; text 'the content-type of gRPC calls begins with application/grpc\\0a'",
     "gRPC: other content-types are answered with 415"},
    {"content-type 'application/json'",
     "HTTP 415; allow: POST; text 'the content-type of gRPC calls begins with application/grpc\\0a'",
     "gRPC: other content-types are answered with 415"},
    {"content-type ''",
     "HTTP 415; allow: POST; text 'the content-type of gRPC calls begins with application/grpc\\0a'",
     "gRPC: other content-types are answered with 415"},
    {"without content-type",
     "HTTP 415; allow: POST; text 'the content-type of gRPC calls begins with application/grpc\\0a'",
     "gRPC: other content-types are answered with 415"},
    {"method GET", "HTTP 405; allow: POST; text 'gRPC calls are made with POST\\0a'",
     "the HTTP status says it, too"},
    {"method PUT", "HTTP 405; allow: POST; text 'gRPC calls are made with POST\\0a'",
     "the HTTP status says it, too"},
    {"method OPTIONS", "HTTP 405; allow: POST; text 'gRPC calls are made with POST\\0a'",
     "the HTTP status says it, too"},
    {"te other", "RST_STREAM 1", "HTTP/2 has no other value of te"},
    {"without te", "HTTP 200; application/grpc; message ''; status 0 ''", "proxies take te away"},
    {"without :authority", "RST_STREAM 1", "nghttp2 wants :authority or host"},
};

/// Ends with the status, or answers with what it knows, as its messages say.
class ScriptStream final : public engine::ServerStream {
 public:
  ScriptStream(engine::Sink& sink, const engine::StreamFacts& facts) : sink_(sink) {
    std::multimap<std::string, std::string> sorted;
    for (const auto& [name, value] : facts.metadata) sorted.emplace(name, value);
    for (const auto& [name, value] : sorted) metadata_ += name + "=" + value + ";";
  }
  void receive(engine::Message message) override {
    const std::string_view text = message.bytes();
    if (text.starts_with("end ")) {
      sink_.finish(absl::Status(static_cast<absl::StatusCode>(text[4]), std::string(text.substr(5))));
    } else if (text == "metadata") {
      sink_.send(metadata_);
    } else if (text.starts_with("replies ")) {
      for (int i = 0; i < text[8]; ++i) sink_.send(std::string(static_cast<std::size_t>(i) * 1000, 'x'));
    } else {
      sink_.send(text);
    }
  }
  void half_closed() override { sink_.finish(absl::OkStatus()); }
  void cancelled(engine::Cancel) override {}

 private:
  engine::Sink& sink_;
  std::string metadata_;
};

class ScriptFactory final : public engine::StreamFactory {
 public:
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts& facts) override {
    return std::make_unique<ScriptStream>(sink, facts);
  }
};

/// A transport that serves a generation, and a client of it.
class Side {
 public:
  Side(config::Transport kind, const std::shared_ptr<const engine::Generation>& generation) {
    services_.add(std::string(Services::kProcess), std::make_unique<engine::ProcessService>(generation));
    services_.add(std::string(kScript), std::make_unique<ScriptFactory>());
    config::Server config;
    config.listen = {"127.0.0.1:0"};
    config.threads = 1;
    config.transport = kind;
    config.limits.max_message_size = kMaxMessage;
    auto server = server::start_transport(config, registry_, metrics_, services_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }

  /// What comes of it, in words that can be compared and read.
  std::string run(const Case& a_case) {
    if (!client_) {
      client_ = std::make_unique<Http2Client>(Http2Client::connect(server_->addresses().at(0)));
      client_->greet();
    }
    const int32_t id = client_->open(a_case.head, a_case.end_in_head);
    a_case.rest(*client_, id);
    const auto& stream = client_->reader.streams[id];
    const bool over = client_->wait([&] { return stream.is_over() || !client_->reader.goaways.empty(); });
    std::string text = outcome(stream, over);
    // After anything odd the next case begins with a new connection.
    if (!stream.ended || client_->closed() || !client_->reader.goaways.empty()) client_.reset();
    return text;
  }

  /// The next case begins with a new connection.
  void leave() { client_.reset(); }

 private:
  [[nodiscard]] std::string outcome(const Http2Reader::Stream& stream, bool over) const {
    std::string text;
    if (!over) text += client_->closed() ? "closed; " : "still open; ";
    if (!client_->reader.goaways.empty())
      text += "GOAWAY " + std::to_string(client_->reader.goaways.back().error) + "; ";
    if (stream.has_head) text += "HTTP " + stream.header(":status") + "; ";
    for (const auto& [name, value] : stream.head) {
      if (!name.starts_with(":") && !name.starts_with("grpc-") && name != "content-type")
        text += name + ": " + value + "; ";
    }
    if (stream.ended && stream.header("content-type") == "text/plain") {
      return text + "text '" + readable(stream.data) + "'";
    }
    if (stream.has_head) text += stream.header("content-type") + "; ";
    for (const std::string& message : stream.messages()) text += "message '" + readable(message) + "'; ";
    if (stream.ended) {
      text +=
          "status " + stream.trailer("grpc-status") + " '" + own_words(stream.trailer("grpc-message")) + "'";
    } else if (stream.reset) {
      text += "RST_STREAM " + std::to_string(*stream.reset);
    }
    return text;
  }

  /// Each says in its own words that a message is too large.
  static std::string own_words(const std::string& text) {
    const bool too_large = text.find("server.limits.max_message_size") != std::string::npos ||
                           text.starts_with("Received message larger than max");
    return too_large ? "(too large)" : text;
  }
  static std::string readable(const std::string& bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char byte : bytes) {
      if (byte >= ' ' && byte <= '~' && byte != '\\') {
        text += byte;
      } else {
        text += {'\\', kDigits[static_cast<unsigned char>(byte) >> 4], kDigits[byte & 0xf]};
      }
    }
    return text;
  }

  telemetry::Registry registry_{2};
  telemetry::Metrics metrics_{registry_};
  Services services_;
  std::unique_ptr<transport::Server> server_;
  std::unique_ptr<Http2Client> client_;
};

/// Two transports before one generation.
class Both {
 public:
  explicit Both(const config::Config& config)
      : loaded_(config),
        grpc_(config::Transport::kGrpc, loaded_.generation()),
        native_(config::Transport::kNative, loaded_.generation()) {}

  void compare(const Case& a_case) {
    const std::string got = native_.run(a_case);
    const auto* known =
        std::ranges::find_if(kDifferences, [&](const Difference& one) { return a_case.name == one.name; });
    if (known == std::end(kDifferences)) {
      const std::string expected = grpc_.run(a_case);
      EXPECT_EQ(got, expected) << "grpc++ is the second; case: " << a_case.name;
      return;
    }
    EXPECT_EQ(got, known->native) << "as listed; case: " << a_case.name;
    if (!known->grpc_answers) return;
    EXPECT_NE(got, grpc_.run(a_case)) << "no difference any more; case: " << a_case.name;
    grpc_.leave();  // it may close the connection behind its answer
  }
  /// The native transport makes the same of the one as grpc++ of the other.
  void compare_native(const Case& native, const Case& grpc) {
    EXPECT_EQ(native_.run(native), grpc_.run(grpc));
  }

 private:
  LoadedGeneration loaded_;
  Side grpc_;
  Side native_;
};

class Differential : public testing::Test {
 protected:
  Differential() { telemetry::init_log("off", "text"); }

  Both& both() {
    static Both both(config::default_config());
    return both;
  }
  void compare(const Case& a_case) { both().compare(a_case); }
  /// A call with these DATA frames; the last one ends it.
  void compare_data(const std::string& name, std::string_view path, const std::vector<std::string>& frames,
                    const Fields& more = {}) {
    Fields head = grpc_call(path);
    head.insert(head.end(), more.begin(), more.end());
    compare({name, head, false, [&](Http2Client& client, int32_t stream) {
               for (const std::string& bytes : frames)
                 client.send(data_frame(stream, bytes, &bytes == &frames.back()));
             }});
  }
  void compare_head(const std::string& name, const Fields& head) {
    compare({name, head, false, [](Http2Client& client, int32_t stream) {
               client.send(data_frame(stream, grpc_message("metadata"), true));
             }});
  }
  static Fields script_with(const Fields& more) {
    Fields head = grpc_call(kScript);
    head.insert(head.end(), more.begin(), more.end());
    return head;
  }
  google::protobuf::LogSilencer silencer_;
};

/// Messages of one HTTP exchange that a plugin changes.
std::vector<std::string> exchange() {
  std::vector<std::string> messages;
  ProcessingRequest message;
  auto* header = message.mutable_request_headers()->mutable_headers()->add_headers();
  header->set_key("instructions");
  header->set_raw_value(R"({"addHeaders":{"a":"1"},"removeHeaders":["b"]})");
  messages.push_back(message.SerializeAsString());
  message.mutable_request_body()->set_body("body");
  message.mutable_request_body()->set_end_of_stream(true);
  messages.push_back(message.SerializeAsString());
  message.mutable_response_headers();
  messages.push_back(message.SerializeAsString());
  return messages;
}

std::string framed(const std::vector<std::string>& messages) {
  std::string bytes;
  for (const std::string& message : messages) bytes += grpc_message(message);
  return bytes;
}

TEST_F(Differential, fragmentation_of_a_conversation) {
  const std::string bytes = framed(exchange());
  compare_data("all in one frame", Services::kProcess, {bytes});
  for (std::size_t at = 1; at < bytes.size(); ++at)
    compare_data("cut at " + std::to_string(at), Services::kProcess, {bytes.substr(0, at), bytes.substr(at)});
  std::vector<std::string> single;
  for (const char byte : bytes) single.emplace_back(1, byte);
  compare_data("a frame for each byte", Services::kProcess, single);
  compare({"a write for each byte", grpc_call(Services::kProcess), false,
           [&](Http2Client& client, int32_t stream) {
             for (const char byte : data_frame(stream, bytes, true)) client.send({&byte, 1});
           }});
  std::vector<std::string> messages;
  for (const std::string& message : exchange()) messages.push_back(grpc_message(message));
  compare_data("a frame for each message", Services::kProcess, messages);
}

TEST_F(Differential, messages_of_all_sizes) {
  for (const std::size_t size : {0, 1, 4, 5, 1000, 16379, 16384, 65536, 99'999, 100'000, 100'001}) {
    const std::string bytes = grpc_message(std::string(size, 'x'));
    std::vector<std::string> frames;
    for (std::size_t at = 0; at < bytes.size(); at += 16384) frames.push_back(bytes.substr(at, 16384));
    compare_data("message of " + std::to_string(size), kScript, frames);
  }
  std::string many;
  for (int i = 0; i < 500; ++i) many += grpc_message(std::to_string(i));
  compare_data("500 messages in one frame", kScript, {many});
  compare_data("many replies", kScript, {grpc_message("replies \x30")});
  compare_data("empty frames between", kScript, {"", grpc_message("a"), "", "", grpc_message("b"), ""});
}

TEST_F(Differential, ends_of_a_call) {
  compare({"ends with its head", grpc_call(kScript), true});
  compare({"ends with its head, engine", grpc_call(Services::kProcess), true});
  compare_data("ends with an empty frame", kScript, {grpc_message("a"), ""});
  compare_data("ends with the last message", kScript, {grpc_message("a")});
  compare({"ends with trailers", grpc_call(kScript), false, [](Http2Client& client, int32_t stream) {
             client.send(data_frame(stream, grpc_message("a")));
             client.send(client.writer.headers(stream, {{"x-trailer", "1"}}, true));
           }});
  compare({"padded", grpc_call(kScript), false, [](Http2Client& client, int32_t stream) {
             client.send(frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_END_STREAM, stream,
                               "\x03" + grpc_message("a") + std::string(3, '\0')));
           }});
  const std::string bytes = grpc_message("some message");
  for (std::size_t size = 1; size < bytes.size(); ++size)
    compare_data("a message cut off", kScript, {grpc_message("a") + bytes.substr(0, size)});
}

// grpc++ is not asked: it sleeps through resets now and then.
TEST_F(Differential, resets_leave_the_connection_as_it_was) {
  const std::string bytes = framed(exchange());
  for (std::size_t at = 0; at <= bytes.size(); ++at) {
    both().compare_native(
        {"a call behind a reset", grpc_call(Services::kProcess), false,
         [&](Http2Client& client, int32_t stream) {
           const int32_t reset = client.open(grpc_call(Services::kProcess));
           client.send(data_frame(reset, bytes.substr(0, at)) + reset_frame(reset, NGHTTP2_CANCEL));
           client.send(data_frame(stream, bytes, true));
         }},
        {"a call alone", grpc_call(Services::kProcess), false,
         [&](Http2Client& client, int32_t stream) { client.send(data_frame(stream, bytes, true)); }});
  }
}

TEST_F(Differential, compression) {
  const Fields gzip_named = {{"grpc-encoding", "gzip"}};
  const std::string text = "some text that is some text";
  const auto one = [&](const std::string& name, const std::string& bytes, const Fields& more) {
    compare_data(name, kScript, {bytes, ""}, more);
  };
  one("gzip", grpc_message(gzip(text), 1), gzip_named);
  one("gzip named, not used", grpc_message(text), gzip_named);
  one("gzip of nothing", grpc_message(gzip(""), 1), gzip_named);
  one("nothing, flagged as gzip", grpc_message("", 1), gzip_named);
  one("identity named", grpc_message(text), {{"grpc-encoding", "identity"}});
  one("identity named, flagged", grpc_message(text, 1), {{"grpc-encoding", "identity"}});
  one("nothing named, flagged", grpc_message(gzip(text), 1), {});
  one("deflate named", grpc_message(text), {{"grpc-encoding", "deflate"}});
  one("unknown encoding", grpc_message(text), {{"grpc-encoding", "snappy"}});
  one("gzip with bytes behind", grpc_message(gzip(text) + "x", 1), gzip_named);
  one("two gzip members", grpc_message(gzip(text) + gzip(text), 1), gzip_named);
  one("gzip cut short", grpc_message(gzip(text).substr(0, 20), 1), gzip_named);
  one("no gzip", grpc_message(text, 1), gzip_named);
  one("gzip of the largest message", grpc_message(gzip(std::string(kMaxMessage, 'x')), 1), gzip_named);
  one("gzip of more than the largest message", grpc_message(gzip(std::string(kMaxMessage + 1, 'x')), 1),
      gzip_named);
}

TEST_F(Differential, prefixes) {
  for (const uint8_t flags : {2, 3, 128, 255}) {
    compare_data("flags " + std::to_string(flags), kScript, {grpc_message("a", flags), ""});
  }
  compare_data("flags 2, gzip", kScript, {grpc_message("a", 2), ""}, {{"grpc-encoding", "gzip"}});
  compare_data("length of 4 GiB", kScript, {std::string("\0\xff\xff\xff\xff", 5) + "x", ""});
}

TEST_F(Differential, timeouts) {
  for (const char* value : {"1H", "99999999H", "1M", "100S", "99999m", "", "1", "S", "1s", "-1S", "abc",
                            "123456789S", " 1H", "1H "}) {
    const Fields head = script_with({{"grpc-timeout", value}});
    compare({"timeout '" + std::string(value) + "'", head, false, [](Http2Client& client, int32_t stream) {
               client.send(data_frame(stream, grpc_message("a")) + data_frame(stream, {}, true));
             }});
  }
}

TEST_F(Differential, metadata) {
  compare_head("plain metadata", script_with({{"x-a", "1"}, {"x-b", ""}, {"x-a", "2"}, {"user-agent", "u"}}));
  compare_head("reserved names",
               script_with({{"grpc-foo", "1"}, {"grpc-accept-encoding", "gzip"}, {"x-grpc-", "1"}}));
  compare_head("other http names", script_with({{"accept", "a"}, {"cookie", "a=b"}, {"cookie", "c=d"}}));
  for (const char* value : {"", "YWJj", "YQ==", "YQ", "YWI=", "YWI", "/+8=", "YQ==,YWI=", "YQ,YWI", ",",
                            "YQ,", "%", "YQ=", "Y", "YQ==YQ==", "A-_A", "YR==", "YQ..", "Y Q="}) {
    compare_head("binary '" + std::string(value) + "'", script_with({{"x-a-bin", value}}));
  }
  std::string letters;
  for (char letter = ' ' + 1; letter <= '~'; ++letter) letters += letter;
  compare_head("all printable letters", script_with({{"x-a", letters}}));
}

TEST_F(Differential, heads) {
  const auto with = [](std::string_view name, const std::string& value) {
    Fields fields = grpc_call(kScript);
    for (auto& field : fields) {
      if (field.first == name) field.second = value;
    }
    return fields;
  };
  const auto without = [](std::string_view name) {
    Fields fields = grpc_call(kScript);
    std::erase_if(fields, [&](const auto& field) { return field.first == name; });
    return fields;
  };
  for (const char* type : {"application/grpc+proto", "application/grpc;charset=utf-8",
                           "application/grpc+json", "application/grpc-web", "application/json", ""}) {
    compare_head("content-type '" + std::string(type) + "'", with("content-type", type));
  }
  for (const char* method : {"GET", "PUT", "OPTIONS"})
    compare_head("method " + std::string(method), with(":method", method));
  for (const char* path : {"/", "/a", "/a/b", "/test.Script/", "/test.Script/do", "/test.Script/Do/"})
    compare_head("path '" + std::string(path) + "'", with(":path", path));
  compare_head("scheme https", with(":scheme", "https"));
  compare_head("te other", with("te", "gzip"));
  for (const char* name : {"te", "content-type", ":authority"})
    compare_head("without " + std::string(name), without(name));
}

TEST_F(Differential, statuses_with_all_bytes) {
  for (int code = 0; code <= 16; ++code) {
    compare_data("status " + std::to_string(code), kScript,
                 {grpc_message("end " + std::string(1, static_cast<char>(code)) + "why"), ""});
  }
  for (int byte = 0; byte < 256; ++byte) {
    compare_data("status text with byte " + std::to_string(byte), kScript,
                 {grpc_message("end \x01"
                               "a" +
                               std::string(1, static_cast<char>(byte)) + "b"),
                  ""});
  }
  compare_data("status behind replies", kScript,
               {grpc_message("a") + grpc_message("b") +
                    grpc_message("end \x01"
                                 "why"),
                ""});
}

TEST_F(Differential, generated_conversations) {
  constexpr std::uint64_t kCases = 150;
  model::Coverage unused;
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    const model::Case a_case = model::random_case(seed, 1 + seed / 20);
    model::PlannedChain chain(a_case.plugins, a_case.setup);
    model::Conversation conversation(a_case, chain, 1, unused);
    while (conversation.step()) {
    }
    std::vector<std::string> frames;
    for (const std::string& message : conversation.messages()) {
      const std::string bytes = grpc_message(message);
      for (std::size_t at = 0; at < bytes.size(); at += 16384) frames.push_back(bytes.substr(at, 16384));
    }
    frames.emplace_back();
    compare_data("conversation " + std::to_string(seed), Services::kProcess, frames);
  }
}

TEST_F(Differential, scenarios) {
  for (const Scenario& scenario : load_scenarios(TEST_SCENARIOS)) {
    Both own(scenario.config);
    Case a_case{scenario.file + ": " + scenario.name, grpc_call(Services::kProcess)};
    a_case.rest = [&](Http2Client& client, int32_t stream) {
      for (const auto& step : scenario.steps) {
        const std::string bytes = grpc_message(step.message);
        for (std::size_t at = 0; at < bytes.size(); at += 16384)
          client.send(data_frame(stream, bytes.substr(at, 16384)));
      }
      client.send(data_frame(stream, {}, true));
    };
    own.compare(a_case);
  }
}

}  // namespace
}  // namespace extprocd::test
