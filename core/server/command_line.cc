#include "core/server/command_line.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <string_view>

#include "absl/status/status.h"
#include <CLI/CLI.hpp>

#include "core/config/address.h"
#include "core/engine/version.h"

namespace extprocd::server {
namespace {

constexpr std::string_view kSampleFlags[] = {"grpcport", "add-header"};

/// Is this one of the sample server's flags, with one dash or two, with or without "=value"?
bool is_sample_flag(std::string_view argument) {
  if (!argument.starts_with('-')) return false;
  argument.remove_prefix(argument.starts_with("--") ? 2 : 1);
  argument = argument.substr(0, argument.find('='));
  return std::find(std::begin(kSampleFlags), std::end(kSampleFlags), argument) != std::end(kSampleFlags);
}

/// CLI11 wants two dashes before a long name; Go takes one as well.
std::string normalized(const std::string& argument) {
  return is_sample_flag(argument) && !argument.starts_with("--") ? "-" + argument : argument;
}

absl::Status add_headers(const CommandLine& command_line, config::Config& config) {
  if (command_line.add_headers.empty()) return absl::OkStatus();
  const auto plugin =
      std::find_if(config.plugin.begin(), config.plugin.end(),
                   [](const config::Plugin& entry) { return entry.module == "instructions.so"; });
  if (plugin == config.plugin.end()) {
    return absl::InvalidArgumentError("--add-header needs a [[plugin]] with module = \"instructions.so\"");
  }
  constexpr std::string_view kOption = "add_request_headers";
  auto& options = std::get<config::Value::Table>(plugin->config.data);
  auto option =
      std::find_if(options.begin(), options.end(), [&](const auto& entry) { return entry.first == kOption; });
  if (option == options.end()) {
    options.emplace_back(kOption, config::Value{config::Value::Array{}, plugin->position});
    option = std::prev(options.end());
  }
  for (const auto& [name, value] : command_line.add_headers) {
    if (auto* list = std::get_if<config::Value::Array>(&option->second.data)) {
      list->push_back({name + ":" + value, plugin->position});
    } else if (auto* table = std::get_if<config::Value::Table>(&option->second.data)) {
      table->emplace_back(name, config::Value{value, plugin->position});
    }
  }
  return absl::OkStatus();
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine result;
  CLI::App app{"extprocd " + std::string(engine::kVersion) +
               ": an Envoy External Processing server whose behaviour comes from plugins"};
  app.name("extprocd");
  app.set_version_flag("--version", "extprocd " + std::string(engine::kVersion));
  bool check = false;
  std::string probe;
  std::string admin;
  std::string plugin_directory;
  std::string log_level;
  std::string transport;
  std::string grpc_port;
  std::vector<std::string> headers;
  uint32_t threads = 0;
  app.add_option("--config", result.config_file,
                 "Configuration file (TOML); without it the built-in one is used")
      ->type_name("FILE");
  app.add_flag("--check", check,
               "Validate the configuration, load the plugins, print the chain, and exit 0 or 1");
  app.add_option("--probe", probe, "Ask the health of the server at ADDR; exit 0 if it is serving")
      ->type_name("ADDR");
  auto* probe_option = app.get_option("--probe");
  app.add_flag("--probe-tls", result.probe_tls, "Probe over TLS; the server's certificate is not checked")
      ->needs(probe_option);
  auto* probe_certificate =
      app.add_option("--probe-cert", result.probe_certificate,
                     "Probe over mutual TLS, with this certificate (PEM); needs --probe-key")
          ->type_name("FILE")
          ->needs(probe_option);
  auto* probe_key = app.add_option("--probe-key", result.probe_key, "The key of --probe-cert (PEM)")
                        ->type_name("FILE")
                        ->needs(probe_certificate);
  probe_certificate->needs(probe_key);
  app.add_option("--listen", result.listen, "Listen on ADDR instead of server.listen; may be repeated")
      ->type_name("ADDR")
      ->allow_extra_args(false);
  auto* admin_option = app.add_option("--admin", admin, "Admin address instead of admin.listen; off for none")
                           ->type_name("ADDR|off");
  auto* directory_option =
      app.add_option("--plugin-dir", plugin_directory, "Load plugins from DIR instead of plugins.directory")
          ->type_name("DIR");
  auto* threads_option =
      app.add_option("--threads", threads, "Threads instead of server.threads; 0 = one a core")
          ->type_name("N")
          ->check(CLI::Range(0, 1024));
  auto* level_option = app.add_option("--log-level", log_level, "Log level instead of log.level")
                           ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));
  auto* transport_option = app.add_option("--transport", transport, "Transport instead of server.transport")
                               ->check(CLI::IsMember({"grpc", "native"}));
  auto* port_option =
      app.add_option("--grpcport", grpc_port,
                     "As the sample server of kgateway's ExtProc guide: listen on this address")
          ->type_name("[HOST]:PORT");
  auto* header_option =
      app.add_option(
             "--add-header", headers,
             "As the sample server: the instructions plugin adds this header to requests; may be repeated")
          ->type_name("NAME:VALUE")
          ->allow_extra_args(false);

  std::vector<std::string> rest;  // CLI11 takes them in reverse order, without the program's name
  for (std::size_t i = arguments.size(); i > 1; --i) rest.push_back(normalized(arguments[i - 1]));
  try {
    app.parse(rest);
  } catch (const CLI::CallForHelp&) {
    result.action = CommandLine::Action::kPrint;
    result.output = app.help();
    return result;
  } catch (const CLI::CallForVersion& version) {
    result.action = CommandLine::Action::kPrint;
    result.output = std::string(version.what()) + "\n";
    return result;
  } catch (const CLI::ParseError& error) {
    result.action = CommandLine::Action::kPrint;
    result.output = "extprocd: " + std::string(error.what()) + "\nRun 'extprocd --help' for the flags.\n";
    result.exit_code = 2;
    return result;
  }

  if (check) result.action = CommandLine::Action::kCheck;
  if (!probe.empty()) {
    result.action = CommandLine::Action::kProbe;
    result.probe_address = probe;
    if (*probe_certificate) result.probe_tls = true;
  }
  if (*admin_option) result.admin = admin;
  if (*directory_option) result.plugin_directory = plugin_directory;
  if (*threads_option) result.threads = threads;
  if (*level_option) result.log_level = log_level;
  if (*transport_option) {
    result.transport = transport == "native" ? config::Transport::kNative : config::Transport::kGrpc;
  }
  const std::string program =
      arguments.empty() ? std::string() : std::filesystem::path(arguments[0]).filename().string();
  result.sample_server = program == "server" || *port_option || *header_option;
  if (*port_option) result.listen.push_back(grpc_port);
  for (const std::string& header : headers) {
    const std::size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0) {
      result.action = CommandLine::Action::kPrint;
      result.output = "extprocd: --add-header '" + header + "': write it as NAME:VALUE\n";
      result.exit_code = 2;
      return result;
    }
    result.add_headers.emplace_back(header.substr(0, colon), header.substr(colon + 1));
  }
  return result;
}

absl::Status apply_overrides(const CommandLine& command_line, config::Config& config) {
  if (!command_line.listen.empty()) {
    config.server.listen = command_line.listen;
  } else if (command_line.sample_server && command_line.config_file.empty()) {
    config.server.listen = {"[::]:18080"};
  }
  if (command_line.admin) config.admin.listen = *command_line.admin;
  if (command_line.plugin_directory) config.plugins.directory = *command_line.plugin_directory;
  if (command_line.threads) config.server.threads = *command_line.threads;
  if (command_line.log_level) config.log.level = *command_line.log_level;
  if (command_line.transport) config.server.transport = *command_line.transport;
  for (const std::string& address : config.server.listen) {
    if (const auto parsed = config::parse_address(address); !parsed.ok()) {
      return absl::InvalidArgumentError("listen address '" + address +
                                        "': " + std::string(parsed.status().message()));
    }
  }
  if (config.admin.listen != "off") {
    if (const auto parsed = config::parse_address(config.admin.listen); !parsed.ok()) {
      return absl::InvalidArgumentError("admin address '" + config.admin.listen +
                                        "': " + std::string(parsed.status().message()));
    }
  }
  return add_headers(command_line, config);
}

}  // namespace extprocd::server
