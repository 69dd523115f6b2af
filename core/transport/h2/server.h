#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "core/transport/h2/options.h"
#include "core/transport/server.h"
#include "core/transport/services.h"

namespace extprocd::transport {

/// The native transport: gRPC over HTTP/2 by nghttp2, on loops of Boost.Asio, one for each thread. A connection
/// stays on one loop, so the calls of its streams never overlap, and nothing on a message's way is locked.
class H2Server final : public Server {
 public:
  /// Starts to serve. `services` has Process and outlives the server. Errors name the address and the cause.
  static absl::StatusOr<std::unique_ptr<H2Server>> start(const H2Options& options, const Services& services);

  ~H2Server() override;

  [[nodiscard]] const std::vector<std::string>& addresses() const override;
  Drained drain(std::chrono::duration<double> deadline) override;

 private:
  struct State;
  explicit H2Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace extprocd::transport
