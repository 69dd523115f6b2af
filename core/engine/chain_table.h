#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/match.h"
#include "core/engine/chain.h"
#include "core/engine/exchange.h"
#include "core/telemetry/log.h"
#include "core/telemetry/registry.h"

namespace extprocd::engine {

/// The gRPC metadata by which a data plane names the chain that it wants; Envoy sets it per route with
/// grpc_initial_metadata.
inline constexpr std::string_view kChainMetadata = "x-extproc-chain";

/// The chains of a generation, and which of them a stream gets. Immutable once built; shared by all threads.
class ChainTable {
 public:
  /// One chain with its rule.
  struct Entry {
    std::unique_ptr<Chain> chain;
    std::optional<config::RequestMatch> match;  ///< none: the default chain
    telemetry::Counter* streams;                ///< that got this chain; may be null
  };

  /// Appends a chain; while the generation is built. Exactly one has no match.
  Chain& add(std::unique_ptr<Chain> chain, std::optional<config::RequestMatch> match = std::nullopt,
             telemetry::Counter* streams = nullptr);

  /// The chain of a stream whose first message is in the exchange; null if its metadata names a chain that there is
  /// not. The first match wins; what fits none gets the default chain.
  [[nodiscard]] const Entry* choose(Exchange& exchange) const;

  /// Must a stream's first message be in the exchange, for choosing a chain or for its plugins?
  [[nodiscard]] bool wants_first_message() const {
    return entries_.size() > 1 || entries_[0].chain->phases() != 0;
  }
  /// In the order in which they are tried; the default chain stands where the file has it.
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  /// Why choose() gave none: what the stream named and what is known, in UTF-8 and at most about 1 KiB. Logged too,
  /// at most once a second.
  [[nodiscard]] std::string report_unknown(const Exchange& exchange) const;

 private:
  [[nodiscard]] bool names_unknown_chain(const Exchange& exchange) const;

  std::vector<Entry> entries_;
  mutable telemetry::RateLimit log_limit_{1};
  std::size_t default_ = 0;
  config::TextPatterns
      known_;  // values of x-extproc-chain that some chain, or the default's name, stands for
};

}  // namespace extprocd::engine
