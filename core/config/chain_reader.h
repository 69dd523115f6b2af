#pragma once

#include "core/config/config.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// Reads every [[chain]] of the file's top table; behind all else that `config` has.
void read_chains(TableReader& top, Config& config);

}  // namespace extprocd::config
