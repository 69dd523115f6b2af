#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/model/envoy_model.h"
#include "test/model/plugin_plan.h"
#include "test/model/server_reference.h"

namespace extprocd::model {

/// One HTTP exchange through one configured filter to one chain of plugins, and how it comes about in time.
struct Case {
  FilterSettings settings;
  HttpExchange exchange;
  ServerSetup setup;
  std::vector<PluginPlan> plugins;
  std::uint64_t schedule = 0;  ///< seed of the order in which things happen
  enum class Cut : std::uint8_t { kNone, kHalfClose, kCancel, kShutdown };
  Cut cut = Cut::kNone;
  std::uint32_t cut_after = 0;  ///< things that happen before the cut
};

/// A case, the same for the same numbers. `size` bounds how many chunks and host calls there are.
Case random_case(std::uint64_t seed, std::size_t size);

/// The same case, but plugins wait in it, take their time, and have not always enough of it.
Case with_waits(Case a_case, std::uint64_t seed, std::size_t size);

/// A case to read.
std::string to_string(const Case& a_case);

/// The same case with one thing less, for every thing that can be left out.
std::vector<Case> reductions(const Case& a_case);

}  // namespace extprocd::model
