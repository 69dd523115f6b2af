#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include <nghttp2/nghttp2.h>

#include "test/bench/load/exchange.h"
#include "test/bench/poller.h"
#include "test/bench/session.h"

namespace extprocd::bench {

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// The connections to one server.
class Connections {
 public:
  struct Options {
    std::string address;
    std::size_t count = 1;
    std::size_t streams = 1;  ///< over all connections, at a time
    bool more_allowed =
        false;          ///< where the server allows fewer streams a connection, open more, as Envoy does
    Metadata metadata;  ///< of every call, behind Envoy's own
    std::chrono::nanoseconds timeout{};
  };

  /// Connects, and waits for the server's settings. Errors say what is wrong with the server, or that it does
  /// not allow so many streams.
  static absl::StatusOr<std::unique_ptr<Connections>> open(const Options& options);

  /// Begins an exchange on the connection that has the fewest.
  void begin(std::unique_ptr<Exchange> exchange);
  /// Sends what waits, then waits for something to come.
  void wait(std::optional<std::chrono::nanoseconds> timeout);
  [[nodiscard]] std::size_t count() const { return sessions_.size(); }
  /// Why one of them broke; empty while all stand.
  [[nodiscard]] std::string lost() const;

 private:
  explicit Connections(const Metadata& metadata);
  /// Connects until there are so many.
  absl::Status connect(const Options& options, std::size_t count);
  [[nodiscard]] bool have_settings() const;

  Poller poller_;
  Metadata metadata_;
  std::vector<nghttp2_nv> headers_;  // views into metadata_
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace extprocd::bench
