#include "core/transport/tls_handshakes.h"

#include <string>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include "core/telemetry/log.h"

namespace extprocd::transport {
namespace {

constexpr std::array<std::string_view, 9> kResults = {
    "ok",      "no_h2",  "version", "no_certificate", "certificate", "refused_by_client",
    "not_tls", "closed", "other"};

std::string reason_text(unsigned long error) {
  const char* reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(error);
}

}  // namespace

std::string_view to_string(TlsHandshake result) { return kResults.at(static_cast<std::size_t>(result)); }

TlsHandshake handshake_failure(unsigned long openssl_error) {
  if (openssl_error == 0) return TlsHandshake::kClosed;
  if (ERR_GET_LIB(openssl_error) != ERR_LIB_SSL) return TlsHandshake::kOther;
  const int reason = ERR_GET_REASON(openssl_error);
  switch (reason) {
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_CALLBACK_FAILED:  // of the client's hello: it has no ALPN at all
      return TlsHandshake::kNoH2;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_UNKNOWN_PROTOCOL:
      return TlsHandshake::kVersion;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return TlsHandshake::kNoCertificate;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return TlsHandshake::kCertificate;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_TOO_SMALL:
      return TlsHandshake::kNotTls;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return TlsHandshake::kClosed;
    default:
      // Alerts that the client sent are above this, by their number.
      return reason > SSL_AD_REASON_OFFSET ? TlsHandshake::kRefusedByClient : TlsHandshake::kOther;
  }
}

TlsHandshakes::TlsHandshakes(telemetry::Registry& registry) {
  for (std::size_t i = 0; i < counters_.size(); ++i) {
    counters_[i] = &registry.counter("extproc_tls_handshakes_total", "TLS handshakes of clients, by result.",
                                     {{"result", std::string(kResults[i])}});
  }
}

void TlsHandshakes::failed(unsigned long openssl_error, std::string_view peer) {
  const TlsHandshake result = handshake_failure(openssl_error);
  counters_[static_cast<std::size_t>(result)]->add();
  if (result == TlsHandshake::kClosed) return;
  static telemetry::RateLimit limit(1);
  if (!limit.allow()) return;
  telemetry::log(telemetry::Level::kWarn, "tls",
                 "handshake with " + std::string(peer) + " failed (" + std::string(to_string(result)) +
                     "): " + reason_text(openssl_error));
}

}  // namespace extprocd::transport
