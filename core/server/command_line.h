#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "core/config/config.h"

namespace extprocd::server {

/// What the command line asks for.
struct CommandLine {
  enum class Action : uint8_t {
    kServe,
    kCheck,  ///< validate, load the plugins, print the chain
    kProbe,  ///< ask another server's health
    kPrint,  ///< print `output` and exit with `exit_code` (help, version, a usage error)
  };
  Action action = Action::kServe;
  std::string output;
  int exit_code = 0;

  std::string config_file;    ///< empty: the built-in configuration
  std::string probe_address;  ///< for kProbe
  bool probe_tls = false;
  std::string probe_certificate;  ///< PEM files of what the probe shows of itself; empty: nothing
  std::string probe_key;

  // What overrides the configuration.
  std::vector<std::string> listen;
  std::optional<std::string> admin;
  std::optional<std::string> plugin_directory;
  std::optional<uint32_t> threads;
  std::optional<std::string> log_level;
  std::optional<config::Transport> transport;
  std::vector<std::pair<std::string, std::string>> add_headers;  ///< of the sample server's -add-header

  /// Started as the sample server of kgateway's ExtProc guide: under the name `server`, or with one of its
  /// flags.
  bool sample_server = false;
};

/// Reads the command line. The sample server's flags (-grpcport, -add-header) are taken with one dash or two,
/// as Go programs do. Never throws.
CommandLine parse_command_line(const std::vector<std::string>& arguments);

/// Puts the overrides into a configuration that was read or built in. An error says which flag is wrong.
absl::Status apply_overrides(const CommandLine& command_line, config::Config& config);

}  // namespace extprocd::server
