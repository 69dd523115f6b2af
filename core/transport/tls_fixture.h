#pragma once

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>

#include "core/config/tls.h"
#include "core/transport/test_certificates.h"

namespace extprocd::transport {

/// A folder with the files of [server.tls]: a server's certificate of a CA, and, once asked for, that of clients.
class TlsFixture : public testing::Test {
 protected:
  TlsFixture() {
    std::signal(SIGPIPE, SIG_IGN);  // as the server does: OpenSSL writes to peers that are gone
    std::string name = testing::TempDir() + "tlsXXXXXX";
    folder_ = mkdtemp(name.data());
    tls_.certificate = folder_ / "server.pem";
    tls_.key = folder_ / "server.key";
    write(authority_.sign());
  }
  ~TlsFixture() override { std::filesystem::remove_all(folder_); }

  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }
  void write(const TestCertificate& server) {
    write(tls_.certificate, server.certificate);
    write(tls_.key, server.key);
  }
  void require_client_certificates() {
    tls_.client_ca = folder_ / "clients.pem";
    write(tls_.client_ca, clients_.certificate());
  }

  std::filesystem::path folder_;
  const TestAuthority authority_{"server CA"};
  const TestAuthority clients_{"client CA"};
  config::Tls tls_;
};

}  // namespace extprocd::transport
