#include "core/transport/tls_credentials.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/transport/pem.h"

namespace extprocd::transport {
namespace {

constexpr std::string_view kH2 = "\x02h2";  // as ALPN writes it

// RFC 9113 9.2.2 leaves nothing else of TLS 1.2.
constexpr const char* kTls12Ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

absl::Status refuse(std::string_view key, const absl::Status& status) {
  return {status.code(), "server.tls." + std::string(key) + ": " + std::string(status.message())};
}

absl::Status refuse(std::string_view key, const std::string& path, const std::string& cause) {
  return refuse(key, absl::FailedPreconditionError(path + ": " + cause));
}

std::time_t to_time(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

std::string subject_of(const X509* certificate) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> text(BIO_new(BIO_s_mem()), &BIO_free_all);
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

int select_h2(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
              unsigned int size, void*) {
  unsigned char* selected = nullptr;
  const auto* wanted = reinterpret_cast<const unsigned char*>(kH2.data());
  if (SSL_select_next_proto(&selected, out_size, wanted, kH2.size(), offered, size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

/// OpenSSL asks for a selection only where the client offers something.
int require_alpn(SSL* session, int* alert, void*) {
  const unsigned char* extension = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(session, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension,
                                &size) == 1) {
    return SSL_CLIENT_HELLO_SUCCESS;
  }
  *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
  return SSL_CLIENT_HELLO_ERROR;
}

std::shared_ptr<SSL_CTX> new_context(config::TlsVersion least) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (!context) return nullptr;
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, least == config::TlsVersion::k13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  // HTTP/2 says where its frames end, so that a peer that leaves without TLS's farewell cuts nothing short unseen.
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(
      raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_cipher_list(raw, kTls12Ciphers);
  // Clients come back by tickets, which cost the server no memory. Without a context of its own a session that was
  // verified cannot.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  constexpr std::string_view kSessionContext = "extprocd";
  SSL_CTX_set_session_id_context(raw, reinterpret_cast<const unsigned char*>(kSessionContext.data()),
                                 kSessionContext.size());
  SSL_CTX_set_alpn_select_cb(raw, &select_h2, nullptr);
  SSL_CTX_set_client_hello_cb(raw, &require_alpn, nullptr);
  return context;
}

absl::Status use_certificate(const config::Tls& tls, TlsCredentials& credentials) {
  auto chain = parse_certificates(credentials.certificate, tls.certificate);
  if (!chain.ok()) return refuse("certificate", chain.status());
  auto key = parse_key(credentials.key, tls.key);
  if (!key.ok()) return refuse("key", key.status());
  X509* own = chain->front().get();
  if (X509_check_private_key(own, key->get()) != 1) {
    ERR_clear_error();
    return refuse("key", tls.key,
                  "is not the key of the first certificate in " + tls.certificate +
                      ", which must be the server's own; those of CAs follow it");
  }
  SSL_CTX* context = credentials.context.get();
  if (SSL_CTX_use_certificate(context, own) != 1 || SSL_CTX_use_PrivateKey(context, key->get()) != 1) {
    return refuse("certificate", tls.certificate,
                  "OpenSSL refuses it: " + take_openssl_error() +
                      "; RSA of 2048 bits or ECDSA on P-256, signed with SHA-256, will do");
  }
  credentials.subject = subject_of(own);
  credentials.not_before = to_time(X509_get0_notBefore(own));
  credentials.not_after = to_time(X509_get0_notAfter(own));
  for (std::size_t i = 1; i < chain->size(); ++i) {
    X509* next = (*chain)[i].get();
    credentials.not_before = std::max(credentials.not_before, to_time(X509_get0_notBefore(next)));
    credentials.not_after = std::min(credentials.not_after, to_time(X509_get0_notAfter(next)));
    if (SSL_CTX_add1_chain_cert(context, next) != 1) {
      return refuse("certificate", tls.certificate,
                    "OpenSSL refuses certificate " + std::to_string(i + 1) + ": " + take_openssl_error());
    }
  }
  return absl::OkStatus();
}

absl::Status require_client_certificates(const config::Tls& tls, const TlsCredentials& credentials) {
  const auto authorities = parse_certificates(credentials.client_ca, tls.client_ca);
  if (!authorities.ok()) return refuse("client_ca", authorities.status());
  SSL_CTX* context = credentials.context.get();
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  // Whatever the file holds is trusted, a CA below a root too.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  for (const CertificatePtr& one : *authorities) {
    if (X509_STORE_add_cert(store, one.get()) != 1 || SSL_CTX_add_client_CA(context, one.get()) != 1)
      return refuse("client_ca", tls.client_ca, "OpenSSL refuses it: " + take_openssl_error());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

absl::Status read_file(std::string_view key, const std::string& path, std::string& text) {
  auto read = read_pem_file(path);
  if (!read.ok()) return refuse(key, read.status());
  text = *std::move(read);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsCredentials> read_tls_credentials(const config::Tls& tls) {
  TlsCredentials credentials{};
  absl::Status status = read_file("certificate", tls.certificate, credentials.certificate);
  if (status.ok()) status = read_file("key", tls.key, credentials.key);
  if (status.ok() && !tls.client_ca.empty())
    status = read_file("client_ca", tls.client_ca, credentials.client_ca);
  if (!status.ok()) return status;
  credentials.context = new_context(tls.min_version);
  if (!credentials.context) return absl::InternalError("server.tls: OpenSSL: " + take_openssl_error());
  status = use_certificate(tls, credentials);
  if (status.ok() && !tls.client_ca.empty()) status = require_client_certificates(tls, credentials);
  if (!status.ok()) return status;
  return credentials;
}

}  // namespace extprocd::transport
