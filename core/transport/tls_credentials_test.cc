#include "core/transport/tls_credentials.h"

#include <ctime>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/transport/tls_fixture.h"

namespace extprocd::transport {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class TlsCredentialsTest : public TlsFixture {
 protected:
  std::string error() const {
    const auto read = read_tls_credentials(tls_);
    return read.ok() ? "" : std::string(read.status().message());
  }
};

TEST_F(TlsCredentialsTest, files_that_fit_together_are_read) {
  require_client_certificates();
  const auto read = read_tls_credentials(tls_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->subject, "CN=localhost");
  EXPECT_THAT(read->certificate, StartsWith("-----BEGIN CERTIFICATE-----"));
  EXPECT_EQ(read->client_ca, clients_.certificate());
  EXPECT_GT(read->not_after, std::time(nullptr) + 3000);
  EXPECT_LT(read->not_before, std::time(nullptr) - 3000);
}

TEST_F(TlsCredentialsTest, the_first_to_expire_of_the_chain_counts) {
  const TestCertificate server = authority_.sign({.not_after = 7200});
  const TestCertificate between = authority_.sign({.not_after = 60, .is_authority = true});
  write(tls_.certificate, server.certificate + between.certificate);
  write(tls_.key, server.key);
  const auto read = read_tls_credentials(tls_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_LT(read->not_after, std::time(nullptr) + 100);
}

TEST_F(TlsCredentialsTest, one_file_may_hold_certificate_and_key) {
  const TestCertificate server = authority_.sign();
  write(tls_.certificate, server.key + server.certificate);
  tls_.key = tls_.certificate;
  EXPECT_EQ(error(), "");
}

TEST_F(TlsCredentialsTest, a_file_that_cannot_be_read_is_named) {
  for (std::string* path : {&tls_.certificate, &tls_.key, &tls_.client_ca}) {
    const std::string good = *path;
    *path = folder_ / "none.pem";
    EXPECT_THAT(error(),
                AllOf(StartsWith("server.tls."), HasSubstr("none.pem: cannot be read: No such file")));
    *path = folder_;
    EXPECT_THAT(error(), HasSubstr("not a regular file"));
    *path = good;
  }
  EXPECT_EQ(error(), "");
}

TEST_F(TlsCredentialsTest, a_file_that_is_no_certificate_is_named_with_the_mend) {
  write(tls_.certificate, "");
  EXPECT_THAT(error(),
              AllOf(StartsWith("server.tls.certificate: "), HasSubstr("holds no certificate in PEM")));
  write(tls_.certificate, to_der(authority_.sign().certificate));
  EXPECT_THAT(error(), HasSubstr("openssl x509 -inform DER"));
  write(tls_.certificate, std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(error(), HasSubstr("larger than 1 MiB"));
  std::string broken = authority_.sign().certificate;
  broken[broken.size() / 2] = '!';
  write(tls_.certificate, authority_.certificate() + broken);
  EXPECT_THAT(error(), HasSubstr("certificate 2 of the file is broken"));
  write(tls_.certificate, authority_.certificate() + broken.substr(0, broken.size() / 2));
  EXPECT_THAT(error(), HasSubstr("certificate 2 of the file is broken"));
}

TEST_F(TlsCredentialsTest, a_file_that_is_no_key_is_named_with_the_mend) {
  const std::string key = authority_.sign().key;
  write(tls_.key, "");
  EXPECT_THAT(error(), AllOf(StartsWith("server.tls.key: "), HasSubstr("holds no private key in PEM")));
  write(tls_.key, authority_.certificate());
  EXPECT_THAT(error(), HasSubstr("holds no private key in PEM"));
  write(tls_.key, encrypted(key, "secret"));
  EXPECT_THAT(error(), HasSubstr("is encrypted"));
  write(tls_.key, "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\n");
  EXPECT_THAT(error(), HasSubstr("the private key is broken"));
  write(tls_.key, key);
  EXPECT_THAT(error(),
              AllOf(StartsWith("server.tls.key: "), HasSubstr("is not the key of the first certificate in"),
                    HasSubstr(tls_.certificate)));
}

TEST_F(TlsCredentialsTest, the_servers_certificate_must_come_first) {
  const TestCertificate server = authority_.sign();
  write(tls_.certificate, authority_.certificate() + server.certificate);
  write(tls_.key, server.key);
  EXPECT_THAT(error(), HasSubstr("must be the server's own; those of CAs follow it"));
}

TEST_F(TlsCredentialsTest, a_key_that_is_too_weak_is_refused) {
  write(authority_.sign({.rsa_bits = 1024}));
  EXPECT_THAT(error(), AllOf(StartsWith("server.tls.certificate: "), HasSubstr("key too small"),
                             HasSubstr("RSA of 2048 bits")));
}

TEST_F(TlsCredentialsTest, a_ca_file_without_certificates_is_refused) {
  require_client_certificates();
  write(tls_.client_ca, "# none\n");
  EXPECT_THAT(error(), AllOf(StartsWith("server.tls.client_ca: "), HasSubstr("holds no certificate in PEM")));
}

TEST_F(TlsCredentialsTest, expired_certificates_are_no_error) {
  write(authority_.sign({.not_before = -7200, .not_after = -3600}));
  EXPECT_EQ(error(), "");
  write(authority_.sign({.not_before = 3600, .not_after = 7200}));
  EXPECT_EQ(error(), "");
}

}  // namespace
}  // namespace extprocd::transport
