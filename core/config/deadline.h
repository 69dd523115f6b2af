#pragma once

#include <optional>
#include <string>

#include "core/config/config.h"
#include "core/config/table_reader.h"

namespace extprocd::config {

/// `timeout` and [plugin.timeouts] of a [[plugin]].
void read_timeouts(TableReader& plugin, PhaseTimeouts& timeouts);

/// `deadline` of [chains] or of a [[chain]].
void read_deadline(TableReader& table, std::optional<double>& deadline);

/// The deadline of a chain, in seconds, where the file states none: some time before the data plane gives up, if it
/// is stated when.
double default_deadline(const DataPlane& data_plane);

/// Why a deadline that the file states cannot be kept, empty if it can: the data plane would give up before.
std::string deadline_fault(double deadline, const DataPlane& data_plane);

}  // namespace extprocd::config
