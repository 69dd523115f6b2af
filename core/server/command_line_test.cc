#include "core/server/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Action = CommandLine::Action;

CommandLine parse(std::vector<std::string> arguments, const std::string& program = "extprocd") {
  arguments.insert(arguments.begin(), program);
  return parse_command_line(arguments);
}

config::Config applied(const CommandLine& command_line) {
  config::Config config = config::default_config();
  const absl::Status status = apply_overrides(command_line, config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

TEST(CommandLineTest, nothing_given_serves_the_built_in_configuration) {
  const CommandLine line = parse({});
  EXPECT_EQ(line.action, Action::kServe);
  EXPECT_FALSE(line.sample_server);
  EXPECT_THAT(applied(line).server.listen, ElementsAre("127.0.0.1:18080"));
}

TEST(CommandLineTest, flags_override_the_file) {
  const CommandLine line = parse({"--config", "c.toml", "--listen", "127.0.0.1:1", "--listen", "unix:/tmp/x",
                                  "--admin", "off", "--plugin-dir", "/p", "--threads", "3", "--log-level",
                                  "debug", "--transport", "grpc", "--check"});
  EXPECT_EQ(line.action, Action::kCheck);
  EXPECT_EQ(line.config_file, "c.toml");
  const config::Config config = applied(line);
  EXPECT_THAT(config.server.listen, ElementsAre("127.0.0.1:1", "unix:/tmp/x"));
  EXPECT_EQ(config.admin.listen, "off");
  EXPECT_EQ(config.plugins.directory, "/p");
  EXPECT_EQ(config.server.threads, 3U);
  EXPECT_EQ(config.log.level, "debug");
  EXPECT_EQ(config.server.transport, config::Transport::kGrpc);
}

TEST(CommandLineTest, the_sample_servers_flags_are_taken_with_one_dash_or_two) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"-grpcport", ":7", "-add-header", "x-a:1", "-add-header", "x-b: 2:3"},
           {"--grpcport", ":7", "--add-header", "x-a:1", "--add-header", "x-b: 2:3"},
           {"-grpcport=:7", "-add-header=x-a:1", "--add-header=x-b: 2:3"}}) {
    const CommandLine line = parse(arguments);
    EXPECT_EQ(line.action, Action::kServe) << line.output;
    EXPECT_TRUE(line.sample_server);
    EXPECT_THAT(line.listen, ElementsAre(":7"));
    EXPECT_THAT(line.add_headers, ElementsAre(std::pair("x-a", "1"), std::pair("x-b", " 2:3")));
  }
}

TEST(CommandLineTest, under_the_name_server_it_listens_on_all_interfaces) {
  EXPECT_THAT(applied(parse({}, "/app/server")).server.listen, ElementsAre("[::]:18080"));
  EXPECT_THAT(applied(parse({"--listen", "127.0.0.1:1"}, "./server")).server.listen,
              ElementsAre("127.0.0.1:1"));
}

TEST(CommandLineTest, added_headers_become_an_option_of_the_instructions_plugin) {
  const config::Config config = applied(parse({"-add-header", "x-a:1", "-add-header", "x-b:2"}));
  EXPECT_THAT(config::to_json(config.plugin.at(0).config),
              HasSubstr(R"("add_request_headers":["x-a:1","x-b:2"])"));
  config::Config without;
  EXPECT_FALSE(apply_overrides(parse({"-add-header", "x-a:1"}), without).ok());
}

TEST(CommandLineTest, a_probe_speaks_tls_if_it_is_told_to_or_has_a_certificate) {
  EXPECT_EQ(parse({"--probe", "127.0.0.1:1"}).action, Action::kProbe);
  EXPECT_FALSE(parse({"--probe", "127.0.0.1:1"}).probe_tls);
  EXPECT_TRUE(parse({"--probe", "127.0.0.1:1", "--probe-tls"}).probe_tls);
  const CommandLine mutual =
      parse({"--probe", "127.0.0.1:1", "--probe-cert", "c.pem", "--probe-key", "k.pem"});
  EXPECT_EQ(mutual.action, Action::kProbe) << mutual.output;
  EXPECT_TRUE(mutual.probe_tls);
  EXPECT_EQ(mutual.probe_certificate, "c.pem");
  EXPECT_EQ(mutual.probe_key, "k.pem");
}

TEST(CommandLineTest, mistakes_say_what_is_wrong_and_exit_with_2) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--lisen", "x"},
                                             {"--threads", "-1"},
                                             {"--threads", "x"},
                                             {"--log-level", "loud"},
                                             {"--transport", "quic"},
                                             {"--probe-tls"},
                                             {"--probe", "x", "--probe-cert", "c"},
                                             {"--probe", "x", "--probe-key", "k"},
                                             {"--probe-cert", "c", "--probe-key", "k"},
                                             {"stray"},
                                             {"-add-header", "no-colon"},
                                             {"--config"}}) {
    const CommandLine line = parse(arguments);
    EXPECT_EQ(line.action, Action::kPrint);
    EXPECT_EQ(line.exit_code, 2) << arguments[0];
    EXPECT_THAT(line.output, HasSubstr("extprocd: "));
  }
  config::Config config = config::default_config();
  EXPECT_THAT(std::string(apply_overrides(parse({"--listen", "nowhere"}), config).message()),
              HasSubstr("nowhere"));
}

TEST(CommandLineTest, help_and_version_are_printed) {
  EXPECT_EQ(parse({"--help"}).exit_code, 0);
  EXPECT_THAT(parse({"--help"}).output, HasSubstr("--listen"));
  EXPECT_THAT(parse({"--version"}).output, HasSubstr("extprocd 0."));
}

}  // namespace
}  // namespace extprocd::server
