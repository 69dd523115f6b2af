#include "core/transport/test_certificates.h"

#include <atomic>
#include <stdexcept>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace extprocd::transport {
namespace {

template <typename T, void (*kFree)(T*)>
struct Free {
  void operator()(T* object) const { kFree(object); }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, &EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509, &X509_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO, &BIO_free_all>>;

void check(bool good) {
  if (!good) throw std::runtime_error("OpenSSL could not make a certificate for a test");
}

std::string text_of(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

Bio reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Key key_of(const std::string& text) {
  Key key(PEM_read_bio_PrivateKey(reader(text).get(), nullptr, nullptr, nullptr));
  check(key != nullptr);
  return key;
}

Certificate certificate_of(const std::string& text) {
  Certificate certificate(PEM_read_bio_X509(reader(text).get(), nullptr, nullptr, nullptr));
  check(certificate != nullptr);
  return certificate;
}

void extend(X509* certificate, int kind, const std::string& value) {
  std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION, &X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()));
  check(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

/// Without `issuer`, one that signs itself.
TestCertificate make(const TestAuthority::Wishes& wishes, const TestCertificate* issuer) {
  static std::atomic<long> serial{1};
  const Key key(wishes.rsa_bits != 0 ? EVP_RSA_gen(wishes.rsa_bits) : EVP_EC_gen("P-256"));
  const Certificate made(X509_new());
  check(key != nullptr && made != nullptr);
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), wishes.not_before);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), wishes.not_after);
  X509_set_pubkey(made.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(wishes.name.c_str()), -1, -1, 0);
  if (wishes.is_authority) {
    extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(made.get(), NID_key_usage, "critical,keyCertSign");
  } else {
    extend(made.get(), NID_subject_alt_name, "DNS:" + wishes.name);
  }
  Key issuer_key;
  Certificate issuer_certificate;
  if (issuer != nullptr) {
    issuer_key = key_of(issuer->key);
    issuer_certificate = certificate_of(issuer->certificate);
  }
  X509_set_issuer_name(made.get(),
                       issuer != nullptr ? X509_get_subject_name(issuer_certificate.get()) : subject);
  check(X509_sign(made.get(), issuer != nullptr ? issuer_key.get() : key.get(), EVP_sha256()) > 0);

  const Bio certificate_text(BIO_new(BIO_s_mem()));
  const Bio key_text(BIO_new(BIO_s_mem()));
  check(PEM_write_bio_X509(certificate_text.get(), made.get()) == 1);
  check(PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return {text_of(certificate_text), text_of(key_text)};
}

}  // namespace

TestAuthority::TestAuthority(const std::string& name)
    : own_(make({.name = name, .is_authority = true}, nullptr)) {}

TestCertificate TestAuthority::sign(const Wishes& wishes) const { return make(wishes, &own_); }

TestAuthority TestAuthority::sign_authority(const std::string& name) const {
  return TestAuthority(make({.name = name, .is_authority = true}, &own_));
}

std::string encrypted(const std::string& key, const std::string& password) {
  const Bio text(BIO_new(BIO_s_mem()));
  check(PEM_write_bio_PKCS8PrivateKey(text.get(), key_of(key).get(), EVP_aes_256_cbc(), password.data(),
                                      static_cast<int>(password.size()), nullptr, nullptr) == 1);
  return text_of(text);
}

std::string to_der(const std::string& certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  check(i2d_X509_bio(text.get(), certificate_of(certificate).get()) == 1);
  return text_of(text);
}

}  // namespace extprocd::transport
