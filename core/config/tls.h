#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/config/value.h"

namespace extprocd::config {

/// The oldest version of TLS that is spoken.
enum class TlsVersion : uint8_t { k12, k13 };

/// "1.2" or "1.3".
std::string_view to_string(TlsVersion version);

/// [server.tls]. All files are PEM; relative paths have been joined to the folder of the configuration file.
struct Tls {
  std::string certificate;  ///< the server's, and behind it those of the CAs between it and a root
  std::string key;          ///< of the first certificate, not encrypted
  std::string client_ca;    ///< set: clients must show a certificate that one of these CAs has signed
  TlsVersion min_version = TlsVersion::k12;
  Position position;  ///< of the table
};

}  // namespace extprocd::config
