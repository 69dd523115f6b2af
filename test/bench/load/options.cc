#include "test/bench/load/options.h"

#include <cstdlib>
#include <map>

#include <CLI/CLI.hpp>

namespace extprocd::bench {
namespace {

const std::map<std::string, Profile>& profiles() {
  static const std::map<std::string, Profile> names = {{"headers", Profile::kHeaders},
                                                       {"buffered", Profile::kBuffered},
                                                       {"duplex", Profile::kDuplex},
                                                       {"idle", Profile::kHeaders}};
  return names;
}

std::chrono::nanoseconds seconds(double value) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(value));
}

}  // namespace

Options read_options(int argc, char** argv) {
  Options options;
  double warm_up = 1;
  double duration = 10;
  double timeout = 10;
  std::vector<std::string> metadata;
  CLI::App app{"Drives an ext_proc server as Envoy does, checks every reply, and says what it costs"};
  app.name("load");
  app.add_option("address", options.address, "The server: host:port, [IPv6]:port or unix:/path")->required();
  app.add_option(
         "--profile", options.profile_name,
         "headers: both headers messages; buffered: with a BUFFERED body each way; duplex: with a "
         "FULL_DUPLEX_STREAMED body each way, which must come back; idle: open --streams and hold them")
      ->check(CLI::IsMember({"headers", "buffered", "duplex", "idle"}))
      ->capture_default_str();
  app.add_option("--connections", options.connections, "HTTP/2 connections")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--more-connections", options.more_connections,
               "Where the server allows fewer streams a connection, open as many as it takes, as Envoy does");
  app.add_option("--streams", options.streams, "Streams at a time, over all connections")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--rate", options.rate,
                 "Streams a second, begun by the clock; latencies count from when they should have begun. "
                 "0: a new one for each that ends")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--warm-up", warm_up, "Seconds before the measuring begins")
      ->check(CLI::Range(0.0, 600.0))
      ->capture_default_str();
  app.add_option("--duration", duration, "Seconds of measuring; with idle, of holding")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--count", options.count, "End after so many streams, those of the warm-up included");
  app.add_option("--timeout", timeout, "Seconds until what does not answer is a fault")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  app.add_option("--body", options.script.body, "Size of a body; 64KiB and the like")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::size_t{0}, std::size_t{64} << 20))
      ->default_str("16KiB");
  app.add_option("--chunk", options.script.chunk, "Size of a piece of it, with duplex")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::size_t{1}, std::size_t{64} << 20))
      ->default_str("16KiB");
  app.add_option("--instructions", options.script.instructions, "Value of a request header `instructions`")
      ->type_name("JSON");
  app.add_flag("--expect-mutation", options.expect_mutation,
               "Replies to request headers must change headers");
  app.add_flag(
      "--reset", options.reset,
      "End streams with RST_STREAM behind the half-close, as Envoy does, instead of waiting for the status");
  app.add_option("--metadata", metadata, "Metadata of every call; may be repeated")
      ->type_name("NAME:VALUE")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.find(':') != std::string::npos ? std::string() : "write name:value, not " + text;
      });
  app.add_option(
         "--refusal", options.refusals,
         "Streams that end with a fault whose text begins so are counted apart, as refused; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--pid", options.pids, "The server's process, for its CPU time and memory; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--json", options.json_file,
                 "Write the report to FILE as well; - for the output, without the table")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  options.script.profile = profiles().at(options.profile_name);
  options.is_idle = options.profile_name == "idle";
  options.warm_up = seconds(warm_up);
  options.duration = seconds(duration);
  options.timeout = seconds(timeout);
  for (const std::string& entry : metadata) {
    const std::size_t colon = entry.find(':');
    options.metadata.emplace_back(entry.substr(0, colon), entry.substr(colon + 1));
  }
  return options;
}

}  // namespace extprocd::bench
