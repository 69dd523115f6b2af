#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/wire/body_mode.h"
#include "core/wire/direction.h"

namespace extprocd::engine {

/// What comes of a plugin's access to a body (EXTPROC_ACCESS_*) in a body mode of the data plane.
enum class BodySupport : uint8_t {
  kWorks,
  kSeesNothing,    ///< the data plane sends no body, and the plugin is content with that
  kSeesFirstPart,  ///< it works on what is sent; the rest passes unseen, and the plugin is told so
  kFailsIfHeld,    ///< what is still held when trailers come cannot go on: the plugin fails then
  kRefused,  ///< the plugin fails before its first callback; where the mode is known beforehand, it is not loaded
};

/// `mode`: nothing if the data plane does not tell. Rules of facts that Envoy's ext_proc filter and gRFC A93 set.
BodySupport body_support(uint32_t access, std::optional<wire::BodyMode> mode, bool trailers);

/// "observe", "edit_chunk", "whole", "stream".
std::string_view access_name(uint32_t access);

/// Why a plugin is refused, and which settings would do: "needs the request body (whole), but …".
std::string body_refusal(uint32_t access, wire::Direction direction, std::optional<wire::BodyMode> mode);

/// Why what a plugin holds cannot go on when the trailers are there.
std::string undeliverable(wire::Direction direction, std::optional<wire::BodyMode> mode);

/// All of it as a Markdown table, which the documentation holds.
std::string body_support_table();

}  // namespace extprocd::engine
