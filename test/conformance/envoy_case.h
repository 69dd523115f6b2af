#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "test/model/envoy_model.h"

namespace extprocd::conformance {

using model::Headers;

/// What must come out at one end.
struct Expected {
  bool reached = true;              ///< the upstream: whether the request gets there at all
  Headers headers;                  ///< all values of these names, a pseudo-header among them
  std::vector<std::string> absent;  ///< names of headers that must not be there
  std::optional<std::string> body;  ///< not given: whatever comes
  bool partial = false;             ///< the message need not be whole, nor get there at all
  bool cut = false;                 ///< the client: its stream is reset
  std::optional<Headers> trailers;  ///< all of them; not given: whatever comes
};

/// One HTTP exchange through one configured filter to a server with scripted plugins, and what must come of it: a scenario
/// of test/scenarios/envoy in one of its variants.
struct Case {
  std::string place;  ///< file and line of the scenario
  std::string name;   ///< of Envoy's test
  std::string id;     ///< name, and what tells the variants apart; unique
  model::FilterSettings settings;
  model::HttpExchange exchange;
  bool early = false;  ///< the upstream answers when the request's headers are there
  bool failure_mode_allow = false;
  bool goes_away = false;  ///< the client resets its stream when the request is sent
  std::string config;      ///< of the server, TOML
  Expected upstream;
  Expected client;
  std::string stream_status;         ///< that the server ends the gRPC stream with
  std::vector<std::string> ignored;  ///< parts of replies that Envoy may pass over
  /// Dynamic metadata that must come back, by "namespace/key"; and what the server is shown, by namespace and key.
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::map<std::string, std::string>> set_metadata;
  std::string fault;  ///< what is known to be wrong with the server here; empty: nothing
  /// Why a column cannot have it: "in process", "envoy" or a version.
  std::map<std::string, std::string> not_producible;
  /// The same for the runs through a real Envoy, as JSON.
  std::string json;

  /// The id as a name of googletest.
  [[nodiscard]] std::string test_name() const;
};

/// For googletest.
void PrintTo(const Case& a_case, std::ostream* out);

/// All cases of a folder's *.toml files. Throws std::runtime_error, with file and line, where one is malformed.
std::vector<Case> load_cases(const std::filesystem::path& folder);

}  // namespace extprocd::conformance
