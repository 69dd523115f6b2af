#include "core/config/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <sstream>
#include <utility>

#include <sys/stat.h>

#include "core/config/address.h"
#include "core/config/chain_reader.h"
#include "core/config/data_plane_reader.h"
#include "core/config/deadline.h"
#include "core/config/match_reader.h"
#include "core/config/protection.h"
#include "core/config/table_reader.h"
#include "core/config/tls_reader.h"
#include "core/config/toml_value.h"

namespace extprocd::config {
namespace {

constexpr uint64_t kMaxTotalHeldBytes = 1ULL << 50;
constexpr uint64_t kMaxMessageSize = (2ULL << 30) - 1;  // what protobuf and gRPC can hold
constexpr uint64_t kMaxFileSize = 1 << 20;
constexpr uint64_t kMaxHeaderListSize = 16 << 20;
constexpr uint32_t kMaxFrames = 10000000;  // a second
constexpr double kDay = 86400;
constexpr double kLongestAge = 365 * kDay;
constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info", "warn", "error", "off"};
constexpr std::array<std::string_view, 2> kTransports = {"grpc", "native"};
constexpr std::array<std::string_view, 3> kFormats = {"auto", "text", "json"};

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void to_lower(std::string& text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

/// Reads a whole file's tables into a Config; each function does one table.
class ConfigReader {
 public:
  ConfigReader(const std::string& file, std::vector<Diagnostic>& errors) : file_(file), errors_(errors) {}

  void read(const Value& root, Config& config) {
    TableReader top(root, "", file_, errors_);
    top.in_table("server", [&](TableReader& table) { server(table, config.server); });
    top.in_table("admin", [&](TableReader& table) { admin(table, config.admin); });
    top.in_table("log", [&](TableReader& table) { log(table, config.log); });
    top.in_table("plugins", [&](TableReader& table) {
      table.get("directory", config.plugins.directory);
      table.get("runtime_dir", config.plugins.runtime_dir);
    });
    top.in_table("mutation_rules", [&](TableReader& table) { mutation_rules(table, config.mutation_rules); });
    top.in_table("data_plane", [&](TableReader& table) { read_data_plane(table, config.data_plane); });
    plugins(top, config.plugin);
    top.in_table("chains", [&](TableReader& table) {
      table.get("on_unknown", config.chains.on_unknown);
      table.get("deny_status", config.chains.deny_status, 200, 599);
      read_deadline(table, config.chains.deadline);
      const std::string fault =
          config.chains.deadline ? deadline_fault(*config.chains.deadline, config.data_plane) : "";
      if (!fault.empty()) table.error("deadline", fault);
    });
    read_chains(top, config);
    top.report_unknown();
  }

 private:
  void address(TableReader& table, std::string_view key, const std::string& text) {
    const auto parsed = parse_address(text);
    if (!parsed.ok()) table.error(key, "'" + text + "': " + std::string(parsed.status().message()));
  }

  void server(TableReader& table, Server& server) {
    table.get("listen", server.listen);
    if (server.listen.empty()) table.error("listen", "must have at least one address");
    for (const std::string& text : server.listen) address(table, "listen", text);
    table.get("threads", server.threads, 0, 1024);
    std::string transport(to_string(server.transport));
    table.get("transport", transport, kTransports);
    server.transport = transport == kTransports[1] ? Transport::kNative : Transport::kGrpc;
    table.in_table("limits", [&](TableReader& limits) {
      limits.get_size("max_message_size", server.limits.max_message_size, 1024, kMaxMessageSize);
      limits.get("max_headers", server.limits.max_headers, 1, 1000000);
      limits.get("max_streams_per_connection", server.limits.max_streams_per_connection, 1, 2147483647);
      limits.get("max_connections", server.limits.max_connections, 1, 1000000);
      limits.get("max_streams", server.limits.max_streams, 1, 2147483647);
      limits.get_size("max_held_bytes", server.limits.max_held_bytes, 65536, kMaxMessageSize);
      limits.get_size("max_total_held_bytes", server.limits.max_total_held_bytes, 65536, kMaxTotalHeldBytes);
      limits.get_size("max_header_list_size", server.limits.max_header_list_size, 4096, kMaxHeaderListSize);
      limits.get_duration("handshake_timeout", server.limits.handshake_timeout, 0.1, 3600);
      limits.get_duration_or_off("idle_timeout", server.limits.idle_timeout, 1, kLongestAge);
      limits.get("max_resets_per_second", server.limits.max_resets_per_second, 1, kMaxFrames);
      limits.get("max_control_frames_per_second", server.limits.max_control_frames_per_second, 1, kMaxFrames);
    });
    table.in_table("keepalive", [&](TableReader& keepalive) {
      keepalive.get_duration_or_off("interval", server.keepalive.interval, 1, kLongestAge);
      keepalive.get_duration("timeout", server.keepalive.timeout, 0.1, 3600);
      keepalive.get_duration_or_off("max_connection_age", server.keepalive.max_connection_age, 1,
                                    kLongestAge);
      keepalive.get_duration_or_off("max_connection_age_grace", server.keepalive.max_connection_age_grace,
                                    0.1, kLongestAge);
    });
    table.in_table("drain", [&](TableReader& drain) {
      drain.get_duration("grace", server.drain.grace, 0, kDay);
      drain.get_duration("deadline", server.drain.deadline, 0, kDay);
    });
    read_watchdog(table, server.watchdog);
    read_overload(table, server.limits, server.overload);
    read_workers(table, server.workers);
    table.in_table("tls", [&](TableReader& tls) { read_tls(tls, file_, server.tls.emplace()); });
  }

  void admin(TableReader& table, Admin& admin) {
    table.get("listen", admin.listen);
    if (admin.listen == "off") return;
    const auto parsed = parse_address(admin.listen);
    if (!parsed.ok()) {
      table.error("listen",
                  "'" + admin.listen + "': " + std::string(parsed.status().message()) + ", or \"off\"");
    } else if (parsed->kind != Address::Kind::kTcp) {
      table.error("listen", "must be host:port or \"off\"");
    }
  }

  void log(TableReader& table, Log& log) {
    table.get("level", log.level, kLevels);
    table.get("format", log.format, kFormats);
  }

  void mutation_rules(TableReader& table, MutationRules& rules) {
    table.get("allow_all_routing", rules.allow_all_routing);
    table.get("allow_envoy", rules.allow_envoy);
    table.get("disallow_system", rules.disallow_system);
    table.get("disallow_all", rules.disallow_all);
    table.get("allow", rules.allow);
    table.get("disallow", rules.disallow);
    table.get("max_headers", rules.max_headers, 1, 1000000);
    table.get("max_headers_kib", rules.max_headers_kib, 1, 1000000);
    for (auto* list : {&rules.allow, &rules.disallow}) std::for_each(list->begin(), list->end(), &to_lower);
  }

  void plugins(TableReader& top, std::vector<Plugin>& plugins) {
    for (const Value* entry : top.take_tables("plugin")) plugins.push_back(plugin(*entry, plugins));
  }

  Plugin plugin(const Value& entry, const std::vector<Plugin>& earlier) {
    Plugin plugin;
    plugin.position = entry.position;
    TableReader table(entry, "plugin", file_, errors_);
    table.get_name("plugin", plugin.name, [&](const std::string& name) {
      return std::any_of(earlier.begin(), earlier.end(),
                         [&](const auto& other) { return other.name == name; });
    });
    table.get("module", plugin.module);
    if (entry.find("module") == nullptr) {
      table.error("module", "is missing: name the file in plugins.directory, such as \"instructions.so\"");
    } else if (plugin.module.empty() || plugin.module.find('/') != std::string::npos ||
               plugin.module.starts_with('.') || plugin.module.find('\0') != std::string::npos) {
      table.error("module", "must be the name of a file in plugins.directory, without a folder");
    }
    table.get("on_error", plugin.on_error);
    table.get("deny_status", plugin.deny_status, 200, 599);
    table.get_size("max_body_bytes", plugin.max_body_bytes, 1, kMaxMessageSize);
    read_timeouts(table, plugin.timeouts);
    read_quarantine(table, plugin.quarantine);
    table.get("may_block", plugin.may_block);
    std::string hash;
    table.get("sha256", hash);
    if (entry.find("sha256") != nullptr) {
      to_lower(hash);
      if (!is_sha256(hash)) table.error("sha256", "must be 64 hexadecimal digits");
      plugin.sha256 = hash;
    }
    table.in_table("when", [&](TableReader& when) { read_when(when, plugin.when); });
    if (const Value* own = table.take_table("config")) {
      plugin.config = *own;
    } else {
      plugin.config = Value{Value::Table{}, entry.position};
    }
    table.report_unknown();
    return plugin;
  }

  const std::string& file_;
  std::vector<Diagnostic>& errors_;
};

}  // namespace

std::string_view to_string(FailurePolicy policy) {
  switch (policy) {
    case FailurePolicy::kDeny:
      return "deny";
    case FailurePolicy::kSkip:
      return "skip";
    case FailurePolicy::kFail:
      break;
  }
  return "fail";
}

std::string_view to_string(Transport transport) {
  return kTransports.at(static_cast<std::size_t>(transport));
}

std::string Diagnostic::to_string() const {
  std::string place = file;
  if (position.line != 0)
    place += ":" + std::to_string(position.line) + ":" + std::to_string(position.column);
  return place.empty() ? text : place + ": " + text;
}

Config default_config() {
  Config config;
  Plugin plugin;
  plugin.name = "instructions";
  plugin.module = "instructions.so";
  plugin.config.data = Value::Table{{"header", Value{std::string("instructions"), {}}}};
  config.plugin.push_back(std::move(plugin));
  return config;
}

LoadResult load_text(std::string_view text, const std::string& file) {
  LoadResult result;
  result.config.file = file;
  try {
    const ParsedToml parsed = parse_toml(text, file);
    if (!parsed.ok) {
      result.errors.push_back(parsed.error);
      return result;
    }
    ConfigReader(file, result.errors).read(parsed.table, result.config);
  } catch (const std::exception& exception) {
    result.errors.push_back({file, {}, std::string("cannot be read: ") + exception.what()});
  }
  return result;
}

LoadResult load_file(const std::string& path) {
  LoadResult failed;
  failed.config.file = path;
  const auto refuse = [&](const std::string& text) {
    failed.errors.push_back({path, {}, text});
    return failed;
  };
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return refuse(std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return refuse("cannot be read: not a regular file");
  if (static_cast<uint64_t>(info.st_size) > kMaxFileSize) return refuse("cannot be read: larger than 1 MiB");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return refuse(std::string("cannot be read: ") + std::strerror(errno));
  return load_text(text.str(), path);
}

}  // namespace extprocd::config
