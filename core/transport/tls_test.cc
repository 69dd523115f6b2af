#include "core/transport/tls.h"

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "core/transport/tls_fixture.h"
#include "core/transport/tls_handshakes.h"

namespace extprocd::transport {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Free>;
using BioPtr = std::unique_ptr<BIO, Free>;

/// What a client brings to a handshake.
struct Client {
  std::string trusted = {};          // PEM; empty: it checks nothing
  std::string alpn = "\x02h2";       // as the extension writes it
  TestCertificate certificate = {};  // empty: none
  int version = 0;                   // the only one; 0: any
  SSL_SESSION* session = nullptr;    // to come back with
};

/// How it ended on both sides.
struct Outcome {
  TlsHandshake server = TlsHandshake::kOk;
  unsigned long client_error = 0;
  std::string server_name;  // common name of the certificate that the client saw
  bool resumed = false;
  std::shared_ptr<SSL_SESSION> session;
};

ContextPtr client_context(const Client& wishes) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_security_level(context.get(), 0);  // so that it can offer what servers refuse
  if (wishes.version != 0) {
    SSL_CTX_set_min_proto_version(context.get(), wishes.version);
    SSL_CTX_set_max_proto_version(context.get(), wishes.version);
  }
  if (!wishes.trusted.empty()) {
    const BioPtr bio(BIO_new_mem_buf(wishes.trusted.data(), static_cast<int>(wishes.trusted.size())));
    X509* ca = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca);
    X509_free(ca);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  if (!wishes.certificate.key.empty()) {
    const std::string& text = wishes.certificate.certificate;
    const BioPtr certificate_bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    X509* own = PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(context.get(), own);
    X509_free(own);
    while (X509* next = PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr))
      SSL_CTX_add0_chain_cert(context.get(), next);
    const BioPtr key_bio(BIO_new_mem_buf(wishes.certificate.key.data(), -1));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr);
    SSL_CTX_use_PrivateKey(context.get(), key);
    EVP_PKEY_free(key);
  }
  ERR_clear_error();
  return context;
}

std::string name_of(const SSL* session) {
  const X509* certificate = SSL_get0_peer_certificate(session);
  if (certificate == nullptr) return "";
  std::array<char, 100> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
  return name.data();
}

/// Steps of one side; 0 while it goes on, 1 when done, -1 after an error.
int step(SSL* session, bool done, unsigned long& error) {
  if (done) {
    std::array<char, 1> byte{};
    SSL_read(session, byte.data(), 1);  // takes tickets and late alerts
    ERR_clear_error();
    return 1;
  }
  ERR_clear_error();
  const int result = SSL_do_handshake(session);
  if (result == 1) return 1;
  const int kind = SSL_get_error(session, result);
  if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) return 0;
  error = ERR_peek_error();
  ERR_clear_error();
  return -1;
}

/// Both sides in memory, until neither has anything to say.
Outcome shake_hands(TlsContext& tls, const Client& wishes) {
  const SessionPtr server = tls.new_session();
  const ContextPtr context = client_context(wishes);
  const SessionPtr client(SSL_new(context.get()));
  SSL_set_connect_state(client.get());
  if (!wishes.alpn.empty()) {
    SSL_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>(wishes.alpn.data()),
                        static_cast<unsigned int>(wishes.alpn.size()));
  }
  if (wishes.session != nullptr) SSL_set_session(client.get(), wishes.session);
  BIO* near = nullptr;
  BIO* far = nullptr;
  BIO_new_bio_pair(&near, 0, &far, 0);
  SSL_set_bio(server.get(), near, near);
  SSL_set_bio(client.get(), far, far);
  Outcome outcome;
  unsigned long server_error = 0;
  int client_state = 0;
  int server_state = 0;
  for (int round = 0; round < 20; ++round) {
    if (client_state >= 0) client_state = step(client.get(), client_state == 1, outcome.client_error);
    if (server_state >= 0) server_state = step(server.get(), server_state == 1, server_error);
  }
  outcome.server = server_state == 1 ? TlsHandshake::kOk : handshake_failure(server_error);
  outcome.server_name = name_of(client.get());
  outcome.resumed = SSL_session_reused(client.get()) == 1;
  outcome.session.reset(SSL_get1_session(client.get()), [](SSL_SESSION* one) { SSL_SESSION_free(one); });
  // As a client that is done with the connection does, so that its session may be used again.
  SSL_set_shutdown(client.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  return outcome;
}

class TlsTest : public TlsFixture {
 protected:
  std::shared_ptr<TlsContext> load() {
    auto context = TlsContext::load(tls_, registry_);
    EXPECT_TRUE(context.ok()) << context.status();
    return *context;
  }
  /// Past the interval between looks, however often it is asked.
  std::shared_ptr<const TlsCredentials> look(TlsContext& context) {
    later_ += std::chrono::hours(1);
    return context.current(later_);
  }
  std::string metrics() const { return registry_.text(); }

  telemetry::Registry registry_{1};
  TlsContext::Clock::time_point later_ = TlsContext::Clock::now();
};

TEST_F(TlsTest, clients_that_trust_the_ca_and_speak_h2_are_served) {
  const auto tls = load();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Outcome outcome = shake_hands(*tls, {.trusted = authority_.certificate(), .version = version});
    EXPECT_EQ(outcome.server, TlsHandshake::kOk);
    EXPECT_EQ(outcome.client_error, 0U);
    EXPECT_EQ(outcome.server_name, "localhost");
  }
  const Outcome among_others =
      shake_hands(*tls, {.trusted = authority_.certificate(), .alpn = "\x08http/1.1\x02h2"});
  EXPECT_EQ(among_others.server, TlsHandshake::kOk);
}

TEST_F(TlsTest, certificates_between_the_servers_and_the_root_are_sent) {
  const TestAuthority between = authority_.sign_authority("between");
  const TestCertificate server = between.sign();
  write({server.certificate + between.certificate(), server.key});
  EXPECT_EQ(shake_hands(*load(), {.trusted = authority_.certificate()}).server, TlsHandshake::kOk);
}

TEST_F(TlsTest, clients_that_do_not_offer_h2_are_refused_with_an_alert) {
  const auto tls = load();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const std::string alpn : {"", "\x08http/1.1"}) {
      const Outcome outcome = shake_hands(*tls, {.alpn = alpn, .version = version});
      EXPECT_EQ(outcome.server, TlsHandshake::kNoH2) << alpn;
      EXPECT_EQ(ERR_GET_REASON(outcome.client_error), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) << alpn;
    }
  }
}

TEST_F(TlsTest, old_versions_are_refused) {
  const Outcome old = shake_hands(*load(), {.version = TLS1_1_VERSION});
  EXPECT_EQ(old.server, TlsHandshake::kVersion);
  EXPECT_EQ(ERR_GET_REASON(old.client_error), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
  tls_.min_version = config::TlsVersion::k13;
  const auto tls = load();
  EXPECT_EQ(shake_hands(*tls, {.version = TLS1_2_VERSION}).server, TlsHandshake::kVersion);
  EXPECT_EQ(shake_hands(*tls, {.version = TLS1_3_VERSION}).server, TlsHandshake::kOk);
}

TEST_F(TlsTest, clients_that_do_not_trust_the_ca_refuse) {
  const Outcome outcome = shake_hands(*load(), {.trusted = clients_.certificate()});
  EXPECT_EQ(outcome.server, TlsHandshake::kRefusedByClient);
  EXPECT_EQ(ERR_GET_REASON(outcome.client_error), SSL_R_CERTIFICATE_VERIFY_FAILED);
}

TEST_F(TlsTest, mutual_tls_lets_only_clients_of_the_ca_in) {
  require_client_certificates();
  const auto tls = load();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_EQ(shake_hands(*tls, {.certificate = clients_.sign({.name = "envoy"}), .version = version}).server,
              TlsHandshake::kOk);
    EXPECT_EQ(shake_hands(*tls, {.version = version}).server, TlsHandshake::kNoCertificate);
    EXPECT_EQ(
        shake_hands(*tls, {.certificate = authority_.sign({.name = "envoy"}), .version = version}).server,
        TlsHandshake::kCertificate);
    const TestCertificate expired = clients_.sign({.not_before = -7200, .not_after = -3600});
    EXPECT_EQ(shake_hands(*tls, {.certificate = expired, .version = version}).server,
              TlsHandshake::kCertificate);
  }
}

TEST_F(TlsTest, a_ca_below_a_root_may_be_the_only_one_that_is_trusted) {
  require_client_certificates();
  const TestAuthority between = clients_.sign_authority("between");
  write(tls_.client_ca, between.certificate());
  const auto tls = load();
  EXPECT_EQ(shake_hands(*tls, {.certificate = between.sign()}).server, TlsHandshake::kOk);
  EXPECT_EQ(shake_hands(*tls, {.certificate = clients_.sign()}).server, TlsHandshake::kCertificate);
}

TEST_F(TlsTest, clients_come_back_with_their_session_also_those_with_a_certificate) {
  require_client_certificates();
  const auto tls = load();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Client client = {.certificate = clients_.sign(), .version = version};
    const Outcome first = shake_hands(*tls, client);
    ASSERT_EQ(first.server, TlsHandshake::kOk);
    EXPECT_FALSE(first.resumed);
    client.session = first.session.get();
    const Outcome second = shake_hands(*tls, client);
    EXPECT_EQ(second.server, TlsHandshake::kOk);
    EXPECT_TRUE(second.resumed) << version;
  }
}

TEST_F(TlsTest, what_is_no_tls_is_known_as_such) {
  const auto tls = load();
  for (const std::string hello :
       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01"}) {
    const SessionPtr server = tls->new_session();
    BIO* in = BIO_new_mem_buf(hello.data(), static_cast<int>(hello.size()));
    BIO_set_mem_eof_return(in, 0);
    SSL_set_bio(server.get(), in, BIO_new(BIO_s_mem()));
    ERR_clear_error();
    EXPECT_LE(SSL_do_handshake(server.get()), 0);
    EXPECT_EQ(handshake_failure(ERR_peek_error()),
              hello.size() > 3 ? TlsHandshake::kNotTls : TlsHandshake::kClosed)
        << hello;
    ERR_clear_error();
  }
}

TEST_F(TlsTest, handshakes_are_counted_by_result) {
  TlsHandshakes handshakes(registry_);
  handshakes.succeeded();
  handshakes.failed(0, "peer");
  handshakes.failed(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE), "peer");
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_handshakes_total{result=\"ok\"} 1"));
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_handshakes_total{result=\"closed\"} 1"));
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_handshakes_total{result=\"no_certificate\"} 1"));
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_handshakes_total{result=\"other\"} 0"));
}

TEST_F(TlsTest, renewed_files_are_taken_up_but_not_looked_for_all_the_time) {
  const auto tls = load();
  const auto before = tls->current();
  write(authority_.sign({.name = "renewed"}));
  EXPECT_EQ(tls->current(), before);
  EXPECT_NE(look(*tls), before);
  EXPECT_EQ(shake_hands(*tls, {.trusted = authority_.certificate()}).server_name, "renewed");
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_reloads_total{result=\"ok\"} 1"));
}

TEST_F(TlsTest, files_behind_links_that_are_swapped_are_taken_up) {
  // As Kubernetes mounts secrets: server.pem -> ..data/server.pem, ..data -> ..1
  namespace fs = std::filesystem;
  const auto put = [this](const std::string& name) {
    fs::create_directory(folder_ / name);
    const TestCertificate server = authority_.sign({.name = name});
    write(folder_ / name / "server.pem", server.certificate);
    write(folder_ / name / "server.key", server.key);
    fs::create_directory_symlink(name, folder_ / "..new");
    fs::rename(folder_ / "..new", folder_ / "..data");
  };
  put("one");
  for (const char* file : {"server.pem", "server.key"}) {
    fs::remove(folder_ / file);
    fs::create_symlink(fs::path("..data") / file, folder_ / file);
  }
  const auto tls = load();
  EXPECT_EQ(tls->current()->subject, "CN=one");
  put("two");
  EXPECT_EQ(look(*tls)->subject, "CN=two");
}

TEST_F(TlsTest, files_that_are_broken_keep_the_old_ones_and_are_reported_once) {
  const auto tls = load();
  const auto before = tls->current();
  const TestCertificate renewed = authority_.sign({.name = "renewed"});
  write(tls_.certificate, renewed.certificate);  // half a renewal: the key comes later
  testing::internal::CaptureStderr();
  EXPECT_EQ(look(*tls), before);
  EXPECT_EQ(look(*tls), before);
  EXPECT_EQ(shake_hands(*tls, {.trusted = authority_.certificate()}).server_name, "localhost");
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("is not the key of the first certificate"));
  EXPECT_EQ(log.find("renewed files are not used"), log.rfind("renewed files are not used"));
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_reloads_total{result=\"error\"} 1"));
  write(tls_.key, renewed.key);
  EXPECT_EQ(look(*tls)->subject, "CN=renewed");
  std::filesystem::remove(tls_.key);
  EXPECT_EQ(look(*tls)->subject, "CN=renewed");
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_reloads_total{result=\"error\"} 2"));
}

TEST_F(TlsTest, files_that_were_only_touched_change_nothing) {
  const auto tls = load();
  const auto before = tls->current();
  std::filesystem::last_write_time(tls_.key, std::filesystem::file_time_type::clock::now());
  EXPECT_EQ(look(*tls), before);
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_reloads_total{result=\"ok\"} 0"));
}

TEST_F(TlsTest, a_renewed_client_ca_lets_others_in) {
  require_client_certificates();
  const auto tls = load();
  const TestAuthority others("other client CA");
  write(tls_.client_ca, others.certificate());
  look(*tls);
  EXPECT_EQ(shake_hands(*tls, {.certificate = clients_.sign()}).server, TlsHandshake::kCertificate);
  EXPECT_EQ(shake_hands(*tls, {.certificate = others.sign()}).server, TlsHandshake::kOk);
}

TEST_F(TlsTest, dates_that_are_wrong_are_a_warning_and_a_metric) {
  testing::internal::CaptureStderr();
  load();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  write(authority_.sign({.not_before = -7200, .not_after = -3600}));
  testing::internal::CaptureStderr();
  const auto tls = load();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("CN=localhost expired at 20"));
  EXPECT_THAT(metrics(), HasSubstr("extproc_tls_certificate_expiry_timestamp_seconds 1"));
  write(authority_.sign({.not_before = 3600, .not_after = 7200}));
  testing::internal::CaptureStderr();
  look(*tls);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("is not valid before 20"));
}

TEST_F(TlsTest, files_that_are_broken_at_the_start_are_an_error) {
  write(tls_.key, "");
  const auto tls = TlsContext::load(tls_, registry_);
  ASSERT_FALSE(tls.ok());
  EXPECT_THAT(std::string(tls.status().message()), HasSubstr("server.tls.key: "));
  EXPECT_THAT(metrics(), Not(HasSubstr("expiry")));
}

TEST_F(TlsTest, many_threads_shake_hands_while_files_are_renewed) {
  const auto tls = load();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        tls->current(TlsContext::Clock::now() + std::chrono::hours(10 * i + t));
        if (shake_hands(*tls, {.trusted = authority_.certificate()}).server == TlsHandshake::kOk) ++good;
      }
    });
  }
  for (int i = 0; i < 20; ++i) write(authority_.sign());
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 90);
}

}  // namespace
}  // namespace extprocd::transport
