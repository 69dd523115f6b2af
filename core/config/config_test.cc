#include "core/config/config.h"

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> errors_of(std::string_view text) {
  std::vector<std::string> texts;
  for (const auto& error : load_text(text, "f.toml").errors) texts.push_back(error.to_string());
  return texts;
}

TEST(ConfigTest, a_whole_file_is_read) {
  const LoadResult result = load_text(R"(
[server]
listen = ["127.0.0.1:1", "unix:/tmp/x"]
threads = 2
transport = "grpc"
[server.limits]
max_message_size = "1MiB"
max_headers = 10
max_streams_per_connection = 7
max_connections = 8
max_streams = 9
max_held_bytes = "100KiB"
max_header_list_size = "8KiB"
handshake_timeout = "3s"
idle_timeout = "1h"
max_resets_per_second = 11
max_control_frames_per_second = 12
[server.keepalive]
interval = "1m"
timeout = "2s"
max_connection_age = "30m"
max_connection_age_grace = "500ms"
[server.drain]
grace = "500ms"
deadline = 5
[server.tls]
certificate = "/t/server.pem"
key = "/t/server.key"
client_ca = "/t/ca.pem"
min_version = "1.3"
[admin]
listen = "off"
[log]
level = "debug"
format = "json"
[plugins]
directory = "/p"
runtime_dir = "/r"
[mutation_rules]
allow_all_routing = true
allow_envoy = true
disallow_system = true
disallow_all = true
allow = ["X-A"]
disallow = ["b*"]
max_headers = 50
max_headers_kib = 8
[[plugin]]
name = "one"
module = "one.so"
on_error = "deny"
deny_status = 403
sha256 = "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
[plugin.config]
key = "value"
[[plugin]]
name = "two"
module = "two.so"
)",
                                      "f.toml");
  ASSERT_TRUE(result.errors.empty()) << result.errors[0].to_string();
  const Config& config = result.config;
  EXPECT_THAT(config.server.listen, ElementsAre("127.0.0.1:1", "unix:/tmp/x"));
  EXPECT_EQ(config.server.threads, 2U);
  EXPECT_EQ(config.server.limits.max_message_size, 1U << 20);
  EXPECT_EQ(config.server.limits.max_headers, 10U);
  EXPECT_EQ(config.server.limits.max_streams_per_connection, 7U);
  EXPECT_EQ(config.server.limits.max_connections, 8U);
  EXPECT_EQ(config.server.limits.max_streams, 9U);
  EXPECT_EQ(config.server.limits.max_held_bytes, 102400U);
  EXPECT_EQ(config.server.transport, Transport::kGrpc);
  EXPECT_EQ(config.server.limits.max_header_list_size, 8192U);
  EXPECT_EQ(config.server.limits.handshake_timeout, 3);
  EXPECT_EQ(config.server.limits.idle_timeout, 3600);
  EXPECT_EQ(config.server.limits.max_resets_per_second, 11U);
  EXPECT_EQ(config.server.limits.max_control_frames_per_second, 12U);
  EXPECT_EQ(config.server.keepalive.interval, 60);
  EXPECT_EQ(config.server.keepalive.timeout, 2);
  EXPECT_EQ(config.server.keepalive.max_connection_age, 1800);
  EXPECT_EQ(config.server.keepalive.max_connection_age_grace, 0.5);
  ASSERT_TRUE(config.server.tls);
  EXPECT_EQ(config.server.tls->certificate, "/t/server.pem");
  EXPECT_EQ(config.server.tls->key, "/t/server.key");
  EXPECT_EQ(config.server.tls->client_ca, "/t/ca.pem");
  EXPECT_EQ(config.server.tls->min_version, TlsVersion::k13);
  EXPECT_EQ(config.server.drain.grace, 0.5);
  EXPECT_EQ(config.server.drain.deadline, 5);
  EXPECT_EQ(config.admin.listen, "off");
  EXPECT_EQ(config.log.level, "debug");
  EXPECT_EQ(config.log.format, "json");
  EXPECT_EQ(config.plugins.directory, "/p");
  EXPECT_EQ(config.plugins.runtime_dir, "/r");
  EXPECT_TRUE(config.mutation_rules.allow_all_routing && config.mutation_rules.allow_envoy &&
              config.mutation_rules.disallow_system && config.mutation_rules.disallow_all);
  EXPECT_THAT(config.mutation_rules.allow, ElementsAre("x-a"));
  EXPECT_THAT(config.mutation_rules.disallow, ElementsAre("b*"));
  EXPECT_EQ(config.mutation_rules.max_headers, 50U);
  EXPECT_EQ(config.mutation_rules.max_headers_kib, 8U);
  ASSERT_EQ(config.plugin.size(), 2U);
  EXPECT_EQ(config.plugin[0].on_error, FailurePolicy::kDeny);
  EXPECT_EQ(config.plugin[0].deny_status, 403U);
  EXPECT_THAT(*config.plugin[0].sha256, StartsWith("abcdef01"));
  EXPECT_EQ(to_json(config.plugin[0].config), R"({"key":"value"})");
  EXPECT_EQ(to_json(config.plugin[1].config), "{}");
}

TEST(ConfigTest, a_written_file_without_plugins_has_none_and_the_built_in_one_has_instructions) {
  EXPECT_TRUE(load_text("", "f.toml").config.plugin.empty());
  ASSERT_EQ(default_config().plugin.size(), 1U);
  EXPECT_EQ(default_config().plugin[0].module, "instructions.so");
}

TEST(ConfigTest, the_default_file_says_what_the_built_in_configuration_does) {
  const LoadResult file = load_file(EXTPROCD_SOURCE_DIR "/config/extprocd.toml");
  ASSERT_TRUE(file.errors.empty()) << file.errors[0].to_string();
  const Config built_in = default_config();
  EXPECT_EQ(file.config.server.listen, built_in.server.listen);
  EXPECT_EQ(file.config.server.threads, built_in.server.threads);
  EXPECT_EQ(file.config.server.limits.max_message_size, built_in.server.limits.max_message_size);
  EXPECT_EQ(file.config.admin.listen, built_in.admin.listen);
  EXPECT_EQ(file.config.log.level, built_in.log.level);
  EXPECT_EQ(file.config.log.format, built_in.log.format);
  ASSERT_EQ(file.config.plugin.size(), 1U);
  EXPECT_EQ(file.config.plugin[0].name, built_in.plugin[0].name);
  EXPECT_EQ(file.config.plugin[0].module, built_in.plugin[0].module);
  EXPECT_EQ(file.config.plugin[0].on_error, built_in.plugin[0].on_error);
  EXPECT_EQ(to_json(file.config.plugin[0].config), to_json(built_in.plugin[0].config));
}

TEST(ConfigTest, the_reference_file_is_valid_and_states_the_defaults) {
  const LoadResult file = load_file(EXTPROCD_SOURCE_DIR "/config/reference.toml");
  ASSERT_TRUE(file.errors.empty()) << file.errors[0].to_string();
  const Config fresh;
  EXPECT_EQ(file.config.server.limits.max_headers, fresh.server.limits.max_headers);
  EXPECT_EQ(file.config.server.limits.max_streams_per_connection,
            fresh.server.limits.max_streams_per_connection);
  EXPECT_EQ(file.config.server.limits.max_connections, fresh.server.limits.max_connections);
  EXPECT_EQ(file.config.server.limits.max_streams, fresh.server.limits.max_streams);
  EXPECT_EQ(file.config.server.limits.max_held_bytes, fresh.server.limits.max_held_bytes);
  EXPECT_EQ(file.config.server.transport, fresh.server.transport);
  EXPECT_EQ(file.config.server.limits.max_header_list_size, fresh.server.limits.max_header_list_size);
  EXPECT_EQ(file.config.server.limits.handshake_timeout, fresh.server.limits.handshake_timeout);
  EXPECT_EQ(file.config.server.limits.idle_timeout, fresh.server.limits.idle_timeout);
  EXPECT_EQ(file.config.server.limits.max_resets_per_second, fresh.server.limits.max_resets_per_second);
  EXPECT_EQ(file.config.server.limits.max_control_frames_per_second,
            fresh.server.limits.max_control_frames_per_second);
  EXPECT_EQ(file.config.server.keepalive.interval, fresh.server.keepalive.interval);
  EXPECT_EQ(file.config.server.keepalive.timeout, fresh.server.keepalive.timeout);
  EXPECT_EQ(file.config.server.keepalive.max_connection_age, fresh.server.keepalive.max_connection_age);
  EXPECT_EQ(file.config.server.keepalive.max_connection_age_grace,
            fresh.server.keepalive.max_connection_age_grace);
  EXPECT_FALSE(file.config.server.tls);
  EXPECT_EQ(file.config.server.drain.grace, fresh.server.drain.grace);
  EXPECT_EQ(file.config.server.drain.deadline, fresh.server.drain.deadline);
  EXPECT_EQ(file.config.mutation_rules.max_headers, fresh.mutation_rules.max_headers);
  EXPECT_EQ(file.config.mutation_rules.max_headers_kib, fresh.mutation_rules.max_headers_kib);
}

TEST(ConfigTest, an_unknown_key_names_its_place_and_the_nearest_known_one) {
  EXPECT_THAT(errors_of("[server]\nlisen = []\n"),
              ElementsAre("f.toml:2:1: unknown key 'server.lisen'; did you mean 'listen'?"));
  EXPECT_THAT(errors_of("[sever]\n"), ElementsAre(HasSubstr("unknown key 'sever'; did you mean 'server'?")));
  EXPECT_THAT(errors_of("[[plugin]]\nname='a'\nmodule='a.so'\n[plugin.confg]\n"),
              ElementsAre(HasSubstr("did you mean 'config'?")));
  EXPECT_THAT(errors_of("[server]\ntransprt = 'grpc'\n"),
              ElementsAre(HasSubstr("did you mean 'transport'?")));
  EXPECT_THAT(errors_of("[server.keepalive]\nintervall = 1\n"),
              ElementsAre(HasSubstr("did you mean 'interval'?")));
}

TEST(ConfigTest, all_mistakes_are_shown_at_once) {
  EXPECT_THAT(errors_of("[server]\nthreads = 'x'\nlisten = []\n[log]\nlevel = 'loud'\n"),
              ElementsAre("f.toml:3:1: server.listen must have at least one address",
                          "f.toml:2:1: server.threads must be a whole number, not a string",
                          HasSubstr("f.toml:5:1: log.level must be one of trace")));
}

TEST(ConfigTest, a_syntax_error_has_its_place) {
  EXPECT_THAT(errors_of("[server]\nlisten = [\n"), ElementsAre(StartsWith("f.toml:")));
  EXPECT_THAT(errors_of("a = 1\na = 2\n"), ElementsAre(HasSubstr("not valid TOML")));
}

TEST(ConfigTest, wrong_types_and_ranges_are_errors_that_say_what_is_wanted) {
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {"server = 1", "server must be a table"},
           {"plugin = 1", "[[plugin]]"},
           {"plugin = [1]", "only tables"},
           {"[server]\nlisten = 'x'", "array of strings"},
           {"[server]\nlisten = [1]", "only strings"},
           {"[server]\nlisten = ['nowhere']", "host:port"},
           {"[server]\nthreads = 1025", "from 0 to 1024"},
           {"[server]\nthreads = -1", "from 0 to 1024"},
           {"[server.limits]\nmax_message_size = '1TB'", "64MiB"},
           {"[server.limits]\nmax_message_size = '3GiB'", "bytes"},
           {"[server.limits]\nmax_headers = 0", "from 1"},
           {"[server.limits]\nmax_connections = 0", "from 1"},
           {"[server.limits]\nmax_streams = 0", "from 1"},
           {"[server.limits]\nmax_held_bytes = '1KiB'", "65536"},
           {"[server]\ntransport = 'quic'", "grpc, native"},
           {"[server.limits]\nmax_header_list_size = 100", "4096"},
           {"[server.limits]\nhandshake_timeout = 0", "at least 100 ms and at most 3600 s"},
           {"[server.limits]\nidle_timeout = 0.5", "at least 1 s and at most 31536000 s, or 0 for none"},
           {"[server.limits]\nmax_resets_per_second = 0", "from 1"},
           {"[server.limits]\nmax_control_frames_per_second = 0", "from 1"},
           {"[server.keepalive]\ninterval = '10ms'", "at least 1 s"},
           {"[server.keepalive]\ntimeout = 0", "at least 100 ms"},
           {"[server.keepalive]\nmax_connection_age = -1", "or 0 for none"},
           {"[server.keepalive]\nmax_connection_age_grace = 'long'", "duration"},
           {"[server.drain]\ngrace = -1", "duration of at most 86400 s"},
           {"[server.drain]\ngrace = 'soon'", "duration"},
           {"[admin]\nlisten = 'unix:/a'", "off"},
           {"[admin]\nlisten = 'on'", "off"},
           {"[mutation_rules]\nallow_envoy = 'yes'", "boolean"},
           {"[[plugin]]\nmodule = 'a.so'", "name is missing"},
           {"[[plugin]]\nname = 'a'", "module is missing"},
           {"[[plugin]]\nname = 'a b'\nmodule = 'a.so'", "1 to 64"},
           {"[[plugin]]\nname = 'a'\nmodule = '../a.so'", "without a folder"},
           {"[[plugin]]\nname = 'a'\nmodule = 'a.so'\non_error = 'ignore'", "fail, deny, skip"},
           {"[[plugin]]\nname = 'a'\nmodule = 'a.so'\ndeny_status = 199", "from 200"},
           {"[[plugin]]\nname = 'a'\nmodule = 'a.so'\nsha256 = 'abc'", "64 hexadecimal"},
           {"[[plugin]]\nname = 'a'\nmodule = 'a.so'\nconfig = 1", "must be a table"},
           {"[[plugin]]\nname='a'\nmodule='a.so'\n[[plugin]]\nname='a'\nmodule='b.so'", "taken"}}) {
    EXPECT_THAT(errors_of(text), testing::Contains(HasSubstr(part))) << text;
  }
}

TEST(ConfigTest, hostile_text_is_an_error_or_read_but_never_a_crash) {
  EXPECT_FALSE(errors_of("a = " + std::string(100000, '[')).empty());
  EXPECT_FALSE(errors_of("[" + std::string(100000, 'a') + "]").empty());
  EXPECT_FALSE(errors_of(std::string("a = \"\0\"", 7)).empty());
  EXPECT_FALSE(errors_of("a = \"\xff\"").empty());
  EXPECT_TRUE(errors_of("\xef\xbb\xbf[log]\r\nlevel = 'info'\r\n").empty());
  const std::string whole = "[server]\nlisten = ['127.0.0.1:1']\n[[plugin]]\nname = 'a'\nmodule = 'a.so'\n";
  for (std::size_t size = 0; size < whole.size(); ++size)
    load_text(std::string_view(whole).substr(0, size), "half");
}

TEST(ConfigTest, a_file_that_cannot_be_read_says_why) {
  EXPECT_THAT(load_file("/nonexistent.toml").errors.at(0).to_string(), HasSubstr("No such file"));
  EXPECT_THAT(load_file("/tmp").errors.at(0).to_string(), HasSubstr("not a regular file"));
  const std::string path = testing::TempDir() + "/large.toml";
  std::ofstream(path) << std::string((1 << 20) + 1, '#');
  EXPECT_THAT(load_file(path).errors.at(0).to_string(), HasSubstr("larger than 1 MiB"));
  std::remove(path.c_str());
}

TEST(ConfigTest, plugin_values_keep_their_places_and_types) {
  const LoadResult result = load_text(
      "[[plugin]]\nname = 'a'\nmodule = 'a.so'\n[plugin.config]\nz = 1\nb = [true, 1.5]\nd = "
      "1979-05-27\n[plugin.config.t]\nk = 'v'\n",
      "f.toml");
  ASSERT_TRUE(result.errors.empty());
  const Value& config = result.config.plugin.at(0).config;
  EXPECT_EQ(to_json(config), R"({"z":1,"b":[true,1.5],"d":"1979-05-27","t":{"k":"v"}})");
  EXPECT_EQ(config.find("b")->position.line, 6U);
  EXPECT_EQ(config.find("t")->find("k")->position.line, 9U);
  EXPECT_EQ(config.find("none"), nullptr);
}

}  // namespace
}  // namespace extprocd::config
