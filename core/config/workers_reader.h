#pragma once

#include "core/config/config.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// Reads [server.workers].
void read_workers(TableReader& table, Workers& workers);

}  // namespace extprocd::config
