#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/telemetry/registry.h"

namespace extprocd::transport {

/// How a TLS handshake ended, as the server sees it.
enum class TlsHandshake : uint8_t {
  kOk,
  kNoH2,             ///< the client does not offer HTTP/2 by ALPN
  kVersion,          ///< it offers no version of TLS that is new enough
  kNoCertificate,    ///< it has no certificate, though one is required
  kCertificate,      ///< its certificate is of another CA, has expired, …
  kRefusedByClient,  ///< it refuses the server's certificate, or something else of the server's
  kNotTls,           ///< it speaks something else: plain HTTP/2, say
  kClosed,           ///< it left, or took too long
  kOther
};

/// The metric's label: "ok", "no_h2", …
std::string_view to_string(TlsHandshake result);

/// What an error code of OpenSSL says (ERR_peek_error() after a failed SSL_do_handshake(); also what an Asio error of
/// the SSL category carries). 0 is kClosed: the connection ended, rather than the handshake failed.
TlsHandshake handshake_failure(unsigned long openssl_error);

/// extproc_tls_handshakes_total, and a line in the log for what clients did wrong. Any thread.
class TlsHandshakes {
 public:
  explicit TlsHandshakes(telemetry::Registry& registry);

  void succeeded() { counters_[static_cast<std::size_t>(TlsHandshake::kOk)]->add(); }
  /// `openssl_error` as for handshake_failure(); `peer` is for the log.
  void failed(unsigned long openssl_error, std::string_view peer);

 private:
  std::array<telemetry::Counter*, 9> counters_;
};

}  // namespace extprocd::transport
