#include "core/transport/tls.h"

#include <cerrno>
#include <ctime>
#include <utility>

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "core/telemetry/log.h"

namespace extprocd::transport {
namespace {

using telemetry::Level;
using telemetry::log;

constexpr std::chrono::seconds kLookInterval{2};

int64_t nanoseconds(const timespec& time) { return time.tv_sec * int64_t{1000000000} + time.tv_nsec; }

std::string to_text(std::time_t time) {
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, sizeof "2000-01-01T00:00:00Z"> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%FT%TZ", &parts)};
}

/// Clients will refuse such a certificate, but the server's clock may be what is wrong.
void warn_of_dates(const TlsCredentials& credentials) {
  const std::time_t now = std::time(nullptr);
  const std::string whose = "the certificate chain of " + credentials.subject;
  if (now >= credentials.not_after)
    log(Level::kWarn, "tls", whose + " expired at " + to_text(credentials.not_after));
  if (now < credentials.not_before)
    log(Level::kWarn, "tls", whose + " is not valid before " + to_text(credentials.not_before));
}

bool same_files(const TlsCredentials& one, const TlsCredentials& other) {
  return one.certificate == other.certificate && one.key == other.key && one.client_ca == other.client_ca;
}

}  // namespace

void FreeSession::operator()(SSL* session) const { SSL_free(session); }

TlsContext::TlsContext(const config::Tls& tls, telemetry::Registry& registry)
    : tls_(tls),
      reloaded_(registry.counter("extproc_tls_reloads_total", "Renewed files of server.tls, by result.",
                                 {{"result", "ok"}})),
      failed_(registry.counter("extproc_tls_reloads_total", "Renewed files of server.tls, by result.",
                               {{"result", "error"}})) {}

absl::StatusOr<std::shared_ptr<TlsContext>> TlsContext::load(const config::Tls& tls,
                                                             telemetry::Registry& registry) {
  std::shared_ptr<TlsContext> context(new TlsContext(tls, registry));
  context->seen_ = context->identities();
  auto read = read_tls_credentials(tls);
  if (!read.ok()) return read.status();
  warn_of_dates(*read);
  context->current_ = std::make_shared<const TlsCredentials>(*std::move(read));
  context->next_look_ = Clock::now() + kLookInterval;
  registry.function("extproc_tls_certificate_expiry_timestamp_seconds",
                    "When the first certificate of the server's chain expires, in Unix time.", {},
                    /*counts=*/false,
                    [context] { return static_cast<double>(context->current()->not_after); });
  return context;
}

std::shared_ptr<const TlsCredentials> TlsContext::current(Clock::time_point now) {
  {
    const std::lock_guard lock(mutex_);
    if (now < next_look_) return current_;
    next_look_ = now + kLookInterval;
  }
  // Others go on with what there is meanwhile.
  if (const std::unique_lock looking(looking_, std::try_to_lock); looking) look_again();
  const std::lock_guard lock(mutex_);
  return current_;
}

SessionPtr TlsContext::new_session() {
  SessionPtr session(SSL_new(current()->context.get()));
  if (session) SSL_set_accept_state(session.get());
  return session;
}

TlsContext::Identity TlsContext::identity_of(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return {.error = errno};
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size = static_cast<uint64_t>(info.st_size),
          .modified = nanoseconds(info.st_mtim),
          .changed = nanoseconds(info.st_ctim)};
}

TlsContext::Identities TlsContext::identities() const {
  return {identity_of(tls_.certificate), identity_of(tls_.key),
          tls_.client_ca.empty() ? Identity() : identity_of(tls_.client_ca)};
}

void TlsContext::look_again() {
  // Before reading: what changes while it is read is seen the next time.
  const Identities now = identities();
  if (now == seen_) return;
  seen_ = now;
  auto read = read_tls_credentials(tls_);
  if (!read.ok()) {
    failed_.add();
    log(Level::kError, "tls",
        "renewed files are not used, those before them still are: " + std::string(read.status().message()));
    return;
  }
  const std::lock_guard lock(mutex_);
  if (same_files(*read, *current_)) return;
  current_ = std::make_shared<const TlsCredentials>(*std::move(read));
  reloaded_.add();
  warn_of_dates(*current_);
  log(Level::kInfo, "tls",
      "renewed: the certificate of " + current_->subject + ", valid until " + to_text(current_->not_after));
}

}  // namespace extprocd::transport
