#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace extprocd::admin {

/// What the admin server shows. Called on its thread.
struct Handlers {
  std::function<std::string()> metrics;  ///< in Prometheus' text format
  std::function<bool()> ready;           ///< does the server take work?
};

/// HTTP for operators, on a thread of its own: /metrics, /healthz (the process lives), /readyz (it takes
/// work).
class AdminServer {
 public:
  /// Begins to serve on `address` (host:port). Errors name the address and the cause.
  static absl::StatusOr<std::unique_ptr<AdminServer>> start(const std::string& address, Handlers handlers);

  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;
  /// Closes all connections and ends the thread.
  ~AdminServer();

  /// host:port, with the port that the system chose.
  [[nodiscard]] const std::string& address() const;

 private:
  struct State;
  explicit AdminServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace extprocd::admin
