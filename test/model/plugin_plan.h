#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <extproc/abi.h>

#include "core/config/config.h"
#include "test/model/http_message.h"

namespace extprocd::model {

/// One host call of a plugin.
struct Step {
  enum class Kind : std::uint8_t { kSet, kAdd, kRemove, kReplaceBody, kClearRouteCache, kMetadata };
  Kind kind = Kind::kSet;
  std::string name;   ///< of the header, or the metadata's key
  std::string value;  ///< likewise; the new body
};

/// How a callback ends.
enum class Outcome : std::uint8_t {
  kContinue,
  kFinish,
  kReply,
  kFail,
  kThrow,
  kReplyWithoutReply,
  kUnknownAction
};

/// What a plugin does in one phase.
struct PhasePlan {
  std::vector<Step> steps;
  Outcome outcome = Outcome::kContinue;
  std::uint32_t outcome_at = 0;  ///< the call of this phase, counted from 0, that ends so; others continue
  std::uint32_t reply_status = 403;
  Headers reply_headers;
  std::int32_t reply_grpc_status = -1;
  std::uint32_t fail_code = 13;
};

/// What a plugin does on every stream, said beforehand: data for the plugin that does it and for the reference that
/// foretells what comes of it.
struct PluginPlan {
  std::uint32_t phases = 0;  ///< EXTPROC_PHASE_BIT
  config::FailurePolicy on_error = config::FailurePolicy::kFail;
  bool fails_to_begin = false;
  std::array<PhasePlan, EXTPROC_PHASE_COUNT> phase;
};

constexpr std::uint32_t kDenyStatus = 503;
constexpr const char* kMetadataNamespace = "ns";

/// Names of a phase, and of the values above, for texts.
std::string phase_name(std::uint32_t phase);
std::string to_string(Outcome outcome);
std::string to_string(const Step& step);
std::string to_string(const PluginPlan& plan);
/// Bytes that can be read: escaped, and shortened if there are many.
std::string readable(const std::string& bytes);
std::string to_string(const Headers& headers);

}  // namespace extprocd::model
