#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/server/command_line.h"
#include "core/server/server.h"
#include "core/telemetry/log.h"
#include "core/transport/grpc/probe.h"

namespace {

using extprocd::server::CommandLine;

void print_error(const std::string& text) { std::fprintf(stderr, "extprocd: %s\n", text.c_str()); }

int probe(const CommandLine& line) {
  std::optional<extprocd::transport::ProbeTls> tls;
  if (line.probe_tls) tls = {line.probe_certificate, line.probe_key};
  const absl::Status status = extprocd::transport::probe(line.probe_address, tls);
  if (status.ok()) return 0;
  print_error("probe of " + line.probe_address + ": " + std::string(status.message()));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const CommandLine line = extprocd::server::parse_command_line({argv, argv + argc});
  if (line.action == CommandLine::Action::kPrint) {
    std::fputs(line.output.c_str(), line.exit_code == 0 ? stdout : stderr);
    return line.exit_code;
  }
  if (line.action == CommandLine::Action::kProbe) return probe(line);

  extprocd::config::LoadResult loaded;
  if (line.config_file.empty()) {
    loaded.config = extprocd::config::default_config();
  } else {
    loaded = extprocd::config::load_file(line.config_file);
  }
  for (const auto& error : loaded.errors) print_error(error.to_string());
  if (!loaded.errors.empty()) return 1;
  if (const absl::Status status = extprocd::server::apply_overrides(line, loaded.config); !status.ok()) {
    print_error(std::string(status.message()));
    return 2;
  }

  extprocd::telemetry::init_log(loaded.config.log.level, loaded.config.log.format);
  if (line.action == CommandLine::Action::kCheck) return extprocd::server::check(loaded.config) ? 0 : 1;
  const absl::Status status = extprocd::server::serve(loaded.config);
  if (!status.ok()) print_error(std::string(status.message()));
  return status.ok() ? 0 : 1;
}
