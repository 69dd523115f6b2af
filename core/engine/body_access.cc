#include "core/engine/body_access.h"

#include <array>

#include <extproc/abi.h>

namespace extprocd::engine {
namespace {

using wire::BodyMode;

constexpr std::size_t kAccesses = 4;  // without EXTPROC_ACCESS_NONE
constexpr std::size_t kModes = 7;     // the last one: not told

struct Support {
  BodySupport without_trailers;
  BodySupport with_trailers;
};

constexpr Support both(BodySupport support) { return {support, support}; }

constexpr Support kWorks = both(BodySupport::kWorks);
constexpr Support kNothing = both(BodySupport::kSeesNothing);
constexpr Support kFirstPart = both(BodySupport::kSeesFirstPart);
constexpr Support kRefused = both(BodySupport::kRefused);
constexpr Support kUnlessHeld = {BodySupport::kWorks, BodySupport::kFailsIfHeld};

// By access and mode: NONE, STREAMED, BUFFERED, BUFFERED_PARTIAL, FULL_DUPLEX_STREAMED, GRPC, not told.
//
// STREAMED wants one answer a chunk, and an answer to trailers carries no body. In a mode that is not told, a body
// message without end_of_stream may be all there is (BUFFERED), so nothing may be held. What the messages of a gRPC
// stream make together is no body.
constexpr std::array<std::array<Support, kModes>, kAccesses> kSupport = {{
    {kNothing, kWorks, kWorks, kFirstPart, kWorks, kWorks, kWorks},
    {kRefused, kWorks, kWorks, kFirstPart, kWorks, kWorks, kWorks},
    {kRefused, kUnlessHeld, kWorks, kFirstPart, kWorks, kRefused, kRefused},
    {kRefused, kUnlessHeld, kWorks, kFirstPart, kWorks, kWorks, kRefused},
}};

std::size_t index(std::optional<BodyMode> mode) {
  return mode ? static_cast<std::size_t>(*mode) : kModes - 1;
}

std::string_view side(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? "request" : "response";
}

std::string setting(wire::Direction direction) { return std::string(side(direction)) + "_body_mode"; }

std::string trailer_setting(wire::Direction direction) {
  return std::string(side(direction)) + "_trailer_mode";
}

std::string_view words(BodySupport support) {
  switch (support) {
    case BodySupport::kWorks:
      return "works";
    case BodySupport::kSeesNothing:
      return "sees nothing";
    case BodySupport::kSeesFirstPart:
      return "works on the first part";
    case BodySupport::kFailsIfHeld:
      return "fails if it holds bytes when the trailers come";
    case BodySupport::kRefused:
      return "refused";
  }
  return "?";
}

}  // namespace

BodySupport body_support(uint32_t access, std::optional<BodyMode> mode, bool trailers) {
  if (access == EXTPROC_ACCESS_NONE || access > kAccesses) return BodySupport::kWorks;
  const Support& support = kSupport[access - 1][index(mode)];
  return trailers ? support.with_trailers : support.without_trailers;
}

std::string_view access_name(uint32_t access) {
  constexpr std::array<std::string_view, kAccesses + 1> kNames = {"none", "observe", "edit_chunk", "whole",
                                                                  "stream"};
  return access < kNames.size() ? kNames[access] : "unknown";
}

std::string body_refusal(uint32_t access, wire::Direction direction, std::optional<BodyMode> mode) {
  const std::string needs =
      "needs the " + std::string(side(direction)) + " body (" + std::string(access_name(access)) + "), but ";
  if (!mode) {
    return needs + "the data plane does not tell its " + setting(direction) +
           " (Envoy before 1.34): state data_plane." + setting(direction) + " in the configuration";
  }
  std::string modes = "STREAMED, BUFFERED, BUFFERED_PARTIAL or FULL_DUPLEX_STREAMED";
  if (*mode == BodyMode::kGrpc)
    modes = "another one; to change gRPC messages one by one a plugin uses edit_chunk or stream";
  return needs + "the data plane's " + setting(direction) + " is " + std::string(to_string(*mode)) +
         ": set it to " + modes;
}

std::string undeliverable(wire::Direction direction, std::optional<BodyMode> mode) {
  return "holds a part of the " + std::string(side(direction)) +
         " body that can go on no more, because trailers came and the data plane's " + setting(direction) +
         " is " + (mode ? std::string(to_string(*mode)) : "not known") +
         ": set it to BUFFERED, or to FULL_DUPLEX_STREAMED with " + trailer_setting(direction) + " SEND";
}

std::string body_support_table() {
  std::string table = "| body mode | trailers |";
  for (uint32_t access = 1; access <= kAccesses; ++access)
    table += " " + std::string(access_name(access)) + " |";
  table += "\n|---|---|---|---|---|---|\n";
  for (std::size_t m = 0; m < kModes; ++m) {
    const auto mode = m + 1 < kModes ? std::optional(static_cast<BodyMode>(m)) : std::nullopt;
    for (const bool trailers : {false, true}) {
      table += "| " + (mode ? std::string(to_string(*mode)) : "not told") + " | " +
               (trailers ? "yes" : "no") + " |";
      for (uint32_t access = 1; access <= kAccesses; ++access) {
        table += " " + std::string(words(body_support(access, mode, trailers))) + " |";
      }
      table += "\n";
    }
  }
  return table;
}

}  // namespace extprocd::engine
