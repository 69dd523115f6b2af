#pragma once

#include "core/config/config.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// Reads a [data_plane] table over what `data_plane` says already.
void read_data_plane(TableReader& table, DataPlane& data_plane);

}  // namespace extprocd::config
