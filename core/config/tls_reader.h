#pragma once

#include "core/config/table_reader.h"
#include "core/config/tls.h"

namespace extprocd::config {

/// Reads [server.tls]; `config_file` is the file that it stands in. Whether its files can be read is seen only when
/// they are.
void read_tls(TableReader& table, const std::string& config_file, Tls& tls);

}  // namespace extprocd::config
