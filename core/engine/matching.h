#pragma once

#include "core/config/match.h"
#include "core/engine/exchange.h"

namespace extprocd::engine {

/// Does the request, as the data plane sent it, fit? What plugins changed does not count, so that the answer does
/// not depend on their order. A condition on headers that have not come does not fit.
bool fits(const config::RequestMatch& match, Exchange& exchange);

/// Does a direction's message fit the conditions of `when` beside those on the request: for a response its status,
/// for both their own content type? `phase` is any of the direction's (EXTPROC_*).
bool fits_direction(const config::When& when, Exchange& exchange, uint32_t phase);

}  // namespace extprocd::engine
