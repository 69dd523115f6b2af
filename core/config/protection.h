#pragma once

#include "core/config/config.h"
#include "core/config/table_reader.h"

// What keeps a plugin that fails, or more load than there is room for, from harming others.
namespace extprocd::config {

/// [server.workers]
void read_workers(TableReader& server, Workers& workers);

/// [server.watchdog]
void read_watchdog(TableReader& server, Watchdog& watchdog);

/// [server.overload]; behind `limits`, below which its own must stay to be of use.
void read_overload(TableReader& server, const Limits& limits, Overload& overload);

/// [plugin.quarantine] of a [[plugin]].
void read_quarantine(TableReader& plugin, Quarantine& quarantine);

}  // namespace extprocd::config
