#pragma once

#include <vector>

#include "core/config/config.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// Reads every [[chain]] of the file's top table. `plugins` are those that the file has.
void read_chains(TableReader& top, const std::vector<Plugin>& plugins, const DataPlane& data_plane,
                 std::vector<Chain>& chains);

}  // namespace extprocd::config
