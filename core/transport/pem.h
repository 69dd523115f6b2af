#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include <openssl/types.h>

namespace extprocd::transport {

struct FreeCertificate {
  void operator()(X509* certificate) const;
};
struct FreeKey {
  void operator()(EVP_PKEY* key) const;
};
using CertificatePtr = std::unique_ptr<X509, FreeCertificate>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeKey>;

/// The text of a file, which must be a regular one of at most 1 MiB. Errors of this and of what follows name the
/// file and the mend.
absl::StatusOr<std::string> read_pem_file(const std::string& path);

/// All certificates of a text, in order; at least one. `path` is what errors call it.
absl::StatusOr<std::vector<CertificatePtr>> parse_certificates(const std::string& text,
                                                               const std::string& path);

/// The private key of a text. Never asks for a password.
absl::StatusOr<KeyPtr> parse_key(const std::string& text, const std::string& path);

/// What OpenSSL says of the first of this thread's errors, which are forgotten: "ee key too small".
std::string take_openssl_error();

}  // namespace extprocd::transport
