#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/engine/generation.h"

namespace extprocd::server {

/// What Envoy's ext_proc filter must be told so that a chain sees what it needs, and nothing more.
struct EnvoySettings {
  bool request_headers = false;
  bool response_headers = false;
  uint32_t request_body = EXTPROC_ACCESS_NONE;   ///< the strongest access of a plugin
  uint32_t response_body = EXTPROC_ACCESS_NONE;  ///< likewise
  bool request_trailers = false;
  bool response_trailers = false;
  double message_timeout = 0;           ///< seconds, as the operator stated it; 0: not stated
  double max_message_timeout = 0;       ///< seconds; 0: the data plane cannot be asked to wait longer
  std::vector<std::string> attributes;  ///< in alphabetical order
  std::vector<std::string>
      chain_names;  ///< of x-extproc-chain, by which a route gets this chain; may be empty

  /// Both together: for a filter that serves several chains.
  void merge(const EnvoySettings& other);
  /// As YAML of the filter's configuration, each line after `indent`.
  [[nodiscard]] std::string to_yaml(const std::string& indent) const;
};

/// The settings for one entry of a generation's chain table. Choosing among chains needs messages too: `generation`
/// says what they look at.
EnvoySettings envoy_settings(const engine::Generation& generation, const engine::ChainTable::Entry& entry);

}  // namespace extprocd::server
