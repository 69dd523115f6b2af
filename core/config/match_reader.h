#pragma once

#include "core/config/match.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// Reads [chain.match].
void read_match(TableReader& table, RequestMatch& match);

/// Reads [plugin.when].
void read_when(TableReader& table, When& when);

}  // namespace extprocd::config
