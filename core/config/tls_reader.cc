#include "core/config/tls_reader.h"

#include <array>
#include <filesystem>
#include <string>

namespace extprocd::config {
namespace {

constexpr std::array<std::string_view, 2> kVersions = {"1.2", "1.3"};

void read_path(TableReader& table, std::string_view key, const std::string& config_file,
               std::string& target) {
  table.get(key, target);
  if (table.table().find(key) == nullptr) return;
  if (target.find('\0') != std::string::npos) {
    table.error(key, "has a NUL byte");
  } else if (target.empty()) {
    table.error(key, "must name a PEM file");
  } else {
    target = (std::filesystem::path(config_file).parent_path() / target).string();
  }
}

}  // namespace

std::string_view to_string(TlsVersion version) { return kVersions.at(static_cast<std::size_t>(version)); }

void read_tls(TableReader& table, const std::string& config_file, Tls& tls) {
  tls.position = table.table().position;
  read_path(table, "certificate", config_file, tls.certificate);
  read_path(table, "key", config_file, tls.key);
  read_path(table, "client_ca", config_file, tls.client_ca);
  if (table.table().find("certificate") == nullptr) {
    table.error("certificate", "is missing: name the PEM file with the server's certificate chain");
  }
  if (table.table().find("key") == nullptr) {
    table.error("key", "is missing: name the PEM file with the key of server.tls.certificate");
  }
  std::string version(to_string(tls.min_version));
  table.get("min_version", version, kVersions);
  tls.min_version = version == kVersions[1] ? TlsVersion::k13 : TlsVersion::k12;
}

}  // namespace extprocd::config
