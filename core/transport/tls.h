#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include <openssl/types.h>

#include "core/config/tls.h"
#include "core/telemetry/registry.h"
#include "core/transport/tls_credentials.h"

namespace extprocd::transport {

struct FreeSession {
  void operator()(SSL* session) const;
};
using SessionPtr = std::unique_ptr<SSL, FreeSession>;

/// What servers show of themselves over TLS, and whom they let in: [server.tls], also when its files have been
/// renewed. Files are looked at when a connection asks, every two seconds at most; broken ones change nothing but
/// the log and `extproc_tls_reloads_total`. All functions from any thread.
class TlsContext {
 public:
  using Clock = std::chrono::steady_clock;

  /// Reads the files; errors say which is wrong and what to do. Shows metrics in `registry`, which keeps the context.
  static absl::StatusOr<std::shared_ptr<TlsContext>> load(const config::Tls& tls,
                                                          telemetry::Registry& registry);

  /// What new connections use.
  std::shared_ptr<const TlsCredentials> current(Clock::time_point now = Clock::now());

  /// The server's side of a new connection; null when there is no memory.
  SessionPtr new_session();

 private:
  /// What changes when a file is renewed, a link on the way to it included.
  struct Identity {
    int error = 0;
    uint64_t device = 0, inode = 0, size = 0;
    int64_t modified = 0, changed = 0;  // nanoseconds
    bool operator==(const Identity&) const = default;
  };
  using Identities = std::array<Identity, 3>;

  TlsContext(const config::Tls& tls, telemetry::Registry& registry);
  static Identity identity_of(const std::string& path);
  [[nodiscard]] Identities identities() const;
  void look_again();

  const config::Tls tls_;
  telemetry::Counter& reloaded_;
  telemetry::Counter& failed_;
  std::mutex mutex_;  // of the next two
  std::shared_ptr<const TlsCredentials> current_;
  Clock::time_point next_look_;
  std::mutex looking_;  // of the rest
  Identities seen_;
};

}  // namespace extprocd::transport
