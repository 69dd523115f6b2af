#include "core/server/server.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <pthread.h>
#include <sys/resource.h>

#include "core/admin/admin_server.h"
#include "core/engine/process_service.h"
#include "core/engine/version.h"
#include "core/server/describe.h"
#include "core/server/generation_builder.h"
#include "core/server/stop_guard.h"
#include "core/server/transport.h"
#include "core/server/watchdog.h"
#include "core/telemetry/log.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/health.h"
#include "core/transport/reflection.h"

namespace extprocd::server {
namespace {

using telemetry::Level;
using telemetry::log;

/// Behind the drain's deadline, for all that is not streams: plugins that are destroyed, threads that end.
constexpr std::chrono::duration<double> kTimeToStop{5};

uint32_t thread_count(const config::Config& config) {
  return config.server.threads != 0 ? config.server.threads
                                    : std::max(1U, std::thread::hardware_concurrency());
}

void print_errors(const std::vector<config::Diagnostic>& errors) {
  for (const auto& error : errors) std::fprintf(stderr, "extprocd: %s\n", error.to_string().c_str());
}

/// Everything that plugins and streams stand on, made in the order in which it is needed.
struct Foundation {
  explicit Foundation(const config::Config& config)
      // The transport's threads, and some more that count now and then: main, admin, plugins' own.
      : registry(thread_count(config) + 8), metrics(registry), workers(config.server.workers, registry) {}

  absl::Status build(const config::Config& config) {
    auto staging = plugin::Staging::create(config.plugins.runtime_dir);
    if (!staging.ok()) return staging.status();
    modules = std::make_unique<plugin::ModuleRegistry>(std::move(*staging), engine::PluginHost::extensions());
    BuildResult built = build_generation(config, *modules, registry, metrics, &workers);
    print_errors(built.errors);
    if (!built.errors.empty()) return absl::FailedPreconditionError("the plugins could not be loaded");
    generation = std::move(built.generation);
    return absl::OkStatus();
  }

  telemetry::Registry registry;
  telemetry::Metrics metrics;
  std::unique_ptr<plugin::ModuleRegistry> modules;
  engine::WorkerPool workers;  // a job may hold the last reference to the generation
  std::shared_ptr<engine::Generation> generation;
};

/// SIGTERM and SIGINT, taken by waiting: blocked here, and in every thread that is made after.
class StopSignal {
 public:
  StopSignal() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // of OpenSSL's writes to peers that are gone, and of what reads the log
  }
  /// Waits for one; its number.
  int wait() {
    int number = 0;
    sigwait(&signals_, &number);
    return number;
  }
  /// Waits for one at most so long; false if none came.
  bool wait_for(double seconds) {
    timespec time{};
    time.tv_sec = static_cast<time_t>(seconds);
    time.tv_nsec = static_cast<long>((seconds - static_cast<double>(time.tv_sec)) * 1e9);
    return sigtimedwait(&signals_, nullptr, &time) > 0;
  }

 private:
  sigset_t signals_{};
};

/// Each connection is an open file, and many systems start processes with a low limit that they may raise.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string joined(const std::vector<std::string>& parts, const std::string& between = ", ") {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : between) + part;
  return all;
}

std::string chain_names(const engine::Generation& generation) {
  std::vector<std::string> names;
  for (const auto& entry : generation.chains.entries()) {
    std::vector<std::string> plugins;
    for (const auto& link : entry.chain->links()) {
      plugins.push_back(link.host->name() + " (" + link.descriptor->id + " " + link.descriptor->version +
                        ")");
    }
    names.push_back(entry.chain->name() + ": " + (plugins.empty() ? "no plugins" : joined(plugins)));
  }
  return joined(names, "; ");
}

std::string tls_text(const config::Server& server) {
  if (!server.tls) return "off";
  const config::Tls& tls = *server.tls;
  return "certificate " + tls.certificate + ", version " + std::string(to_string(tls.min_version)) +
         " or newer, " +
         (tls.client_ca.empty() ? "any client" : "clients with a certificate of " + tls.client_ca);
}

}  // namespace

absl::Status serve(const config::Config& config) {
  if (const absl::Status status = check_tls(config); !status.ok()) return status;
  StopSignal stop;
  raise_file_limit();
  StopGuard guard;
  Foundation foundation(config);
  if (const absl::Status status = foundation.build(config); !status.ok()) return status;
  telemetry::show_process_metrics(foundation.registry, engine::kVersion);

  transport::HealthState health;
  transport::Services services;
  services.add(std::string(transport::Services::kProcess),
               std::make_unique<engine::ProcessService>(foundation.generation));
  transport::add_health_service(services, health);
  transport::add_reflection_service(services);

  std::unique_ptr<Watchdog> watchdog;
  if (config.server.watchdog.after > 0) {
    watchdog =
        std::make_unique<Watchdog>(engine::to_duration(config.server.watchdog.after), foundation.registry);
    watchdog->start();
  }

  std::unique_ptr<admin::AdminServer> admin;
  if (config.admin.listen != "off") {
    auto started = admin::AdminServer::start(
        config.admin.listen,
        {[&foundation] { return foundation.registry.text(); }, [&health] { return health.serving(); }});
    if (!started.ok())
      return absl::Status(started.status().code(), "admin: " + std::string(started.status().message()));
    admin = std::move(*started);
  }
  const auto transport = start_transport(config.server, foundation.registry, foundation.metrics, services);
  if (!transport.ok()) return transport.status();
  health.set_serving(true);
  log(Level::kInfo, "server",
      "extprocd " + std::string(engine::kVersion) + " serves ext_proc on " +
          joined((*transport)->addresses()) + (config.server.tls ? " with TLS" : "") + ", admin on " +
          (admin ? admin->address() : "none") + ", threads " + std::to_string(thread_count(config)) +
          ", configuration " + (config.file.empty() ? "built in" : config.file) + ", chains " +
          chain_names(*foundation.generation));
  for (const auto& note : never_reached(*foundation.generation))
    log(Level::kWarn, "server", note.to_string());

  const int signal = stop.wait();
  log(Level::kInfo, "server", std::string(signal == SIGINT ? "SIGINT" : "SIGTERM") + ": draining");
  health.set_serving(false);
  // A second signal means: at once.
  const bool at_once = stop.wait_for(config.server.drain.grace);
  guard.start(kTimeToStop + std::chrono::duration<double>(at_once ? 0 : config.server.drain.deadline));
  const auto drained =
      (*transport)->drain(std::chrono::duration<double>(at_once ? 0 : config.server.drain.deadline));
  log(Level::kInfo, "server",
      "stopped: " + std::to_string(drained.finished) + " open streams finished, " +
          std::to_string(drained.cancelled) + " cancelled");
  return absl::OkStatus();
}

bool check(const config::Config& config) {
  Foundation foundation(config);
  absl::Status status = check_tls(config);
  if (status.ok()) status = foundation.build(config);
  if (!status.ok()) {
    std::fprintf(stderr, "extprocd: %s\n", std::string(status.message()).c_str());
    return false;
  }
  std::printf("configuration %s is valid\nlisten: %s\ntransport: %s\ntls: %s\nadmin: %s\noverload: %s\n%s",
              config.file.empty() ? "(built in)" : config.file.c_str(), joined(config.server.listen).c_str(),
              std::string(to_string(config.server.transport)).c_str(), tls_text(config.server).c_str(),
              config.admin.listen.c_str(), overload_text(config.server.overload).c_str(),
              describe(*foundation.generation).c_str());
  for (const auto& note : never_reached(*foundation.generation)) {
    std::printf("note: %s\n", note.to_string().c_str());
  }
  return true;
}

}  // namespace extprocd::server
