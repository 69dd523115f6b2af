#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace extprocd::test {

/// One conversation with the server, as test/scenarios has it.
struct Scenario {
  struct Step {
    std::string message;               ///< the bytes of one gRPC message
    std::vector<std::string> replies;  ///< that must follow, in protobuf's text format
  };
  std::string file;
  std::string name;
  config::Config config;
  std::vector<Step> steps;
  std::string status;   ///< name of a gRPC status
  std::string message;  ///< part of the status' text
};

/// All scenarios of a folder's *.toml files. Throws std::runtime_error where one is malformed.
std::vector<Scenario> load_scenarios(const std::string& folder);

}  // namespace extprocd::test
