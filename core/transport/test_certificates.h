#pragma once

#include <memory>
#include <string>

#include <openssl/types.h>

namespace extprocd::transport {

/// A certificate with its key, made for one test, in PEM.
struct TestCertificate {
  std::string certificate;
  std::string key;
};

/// A certificate authority that lives as long as a test. Everything is ECDSA on P-256.
class TestAuthority {
 public:
  struct Wishes {
    std::string name = "localhost";  ///< common name, and the DNS name that it is for
    long not_before = -3600;         ///< seconds from now
    long not_after = 3600;
    bool is_authority = false;  ///< may sign others
    unsigned int rsa_bits = 0;  ///< an RSA key of so many bits instead
  };

  explicit TestAuthority(const std::string& name);

  /// The authority's own certificate.
  [[nodiscard]] const std::string& certificate() const { return own_.certificate; }
  [[nodiscard]] TestCertificate sign(const Wishes& wishes) const;
  [[nodiscard]] TestCertificate sign() const { return sign(Wishes()); }
  /// An authority whose certificate this one has signed.
  [[nodiscard]] TestAuthority sign_authority(const std::string& name) const;

 private:
  explicit TestAuthority(TestCertificate own) : own_(std::move(own)) {}
  TestCertificate own_;
};

/// A key in PEM that a password encrypts.
std::string encrypted(const std::string& key, const std::string& password);

/// A certificate of a PEM text in DER.
std::string to_der(const std::string& certificate);

}  // namespace extprocd::transport
