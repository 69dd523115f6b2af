#pragma once

#include <ctime>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include <openssl/types.h>

#include "core/config/tls.h"

namespace extprocd::transport {

/// The files of [server.tls] as they were at one moment, checked. Immutable, so for any thread.
struct TlsCredentials {
  std::string certificate;  ///< PEM, as the files have it
  std::string key;
  std::string client_ca;  ///< empty: clients need no certificate

  std::string subject;     ///< of the server's certificate
  std::time_t not_before;  ///< when the last of the chain becomes valid
  std::time_t not_after;   ///< when the first of the chain expires

  /// Servers made of it speak HTTP/2 alone (ALPN "h2"), in no older version of TLS than was configured.
  std::shared_ptr<SSL_CTX> context;
};

/// Reads and checks the files. Errors begin with the key in the configuration and say what to do; certificates that
/// have expired are none.
absl::StatusOr<TlsCredentials> read_tls_credentials(const config::Tls& tls);

}  // namespace extprocd::transport
