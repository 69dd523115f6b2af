#include "core/transport/pem.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

namespace extprocd::transport {
namespace {

constexpr off_t kMaxFileSize = 1 << 20;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using BioPtr = std::unique_ptr<BIO, FreeBio>;

BioPtr bio_of(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// Without it OpenSSL asks on the terminal. Notes that it was called, which tells that a key is encrypted.
int refuse_password(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::Status refuse(const std::string& path, const std::string& cause) {
  return absl::FailedPreconditionError(path + ": " + cause);
}

/// Is this the end of the text, rather than something that is broken?
bool at_end_of_pem() {
  const unsigned long error = ERR_peek_last_error();
  return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

}  // namespace

void FreeCertificate::operator()(X509* certificate) const { X509_free(certificate); }
void FreeKey::operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }

std::string take_openssl_error() {
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(error);
}

absl::StatusOr<std::string> read_pem_file(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0)
    return refuse(path, std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return refuse(path, "cannot be read: not a regular file");
  if (info.st_size > kMaxFileSize) return refuse(path, "cannot be read: larger than 1 MiB");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (info.st_size > 0) text << file.rdbuf();
  if (!file) {
    return refuse(path, std::string("cannot be read: ") + std::strerror(errno) +
                            "; the user that runs the server must be allowed to");
  }
  return text.str();
}

absl::StatusOr<std::vector<CertificatePtr>> parse_certificates(const std::string& text,
                                                               const std::string& path) {
  ERR_clear_error();
  const BioPtr bio = bio_of(text);
  bool asked = false;
  std::vector<CertificatePtr> certificates;
  while (CertificatePtr next{PEM_read_bio_X509(bio.get(), nullptr, &refuse_password, &asked)}) {
    certificates.push_back(std::move(next));
  }
  if (!at_end_of_pem()) {
    return refuse(path, "certificate " + std::to_string(certificates.size() + 1) +
                            " of the file is broken: " + take_openssl_error());
  }
  ERR_clear_error();
  if (certificates.empty()) {
    return refuse(path,
                  "holds no certificate in PEM (-----BEGIN CERTIFICATE-----); 'openssl x509 -inform DER' "
                  "converts one in DER");
  }
  return certificates;
}

absl::StatusOr<KeyPtr> parse_key(const std::string& text, const std::string& path) {
  ERR_clear_error();
  bool asked = false;
  KeyPtr key(PEM_read_bio_PrivateKey(bio_of(text).get(), nullptr, &refuse_password, &asked));
  if (key) return key;
  const std::string cause = take_openssl_error();
  if (asked) return refuse(path, "is encrypted, which cannot be used: 'openssl pkey' writes it in plain");
  if (text.find("PRIVATE KEY-----") == std::string::npos) {
    return refuse(path, "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)");
  }
  return refuse(path, "the private key is broken: " + cause);
}

}  // namespace extprocd::transport
