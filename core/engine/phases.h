#pragma once

#include <cstdint>

#include <extproc/abi.h>

#include "core/wire/direction.h"

namespace extprocd::engine {

/// The phases of a direction (EXTPROC_*); those of headers and trailers also name their header maps.
constexpr uint32_t headers_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS;
}
constexpr uint32_t body_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_BODY : EXTPROC_RESPONSE_BODY;
}
constexpr uint32_t trailers_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_TRAILERS : EXTPROC_RESPONSE_TRAILERS;
}

}  // namespace extprocd::engine
