#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <extproc/abi.h>

#include "core/config/config.h"
#include "test/model/http_message.h"

namespace extprocd::model {

/// One host call of a plugin.
struct Step {
  enum class Kind : std::uint8_t {
    kSet,
    kAdd,
    kRemove,
    kReplaceBody,
    kClearRouteCache,
    kMetadata,
    kWrite,
    kForward,
    kDrop,
    kSkip,
    kExtend
  };
  Kind kind = Kind::kSet;
  std::string name;          ///< of the header, or the metadata's key
  std::string value;         ///< likewise; the new body; what is written
  std::size_t size = 0;      ///< bytes to forward or drop; milliseconds to ask for
  std::uint32_t phases = 0;  ///< EXTPROC_PHASE_BIT to skip
};

/// How a callback ends.
enum class Outcome : std::uint8_t {
  kContinue,
  kFinish,
  kReply,
  kFail,
  kThrow,
  kReplyWithoutReply,
  kSuspendWithoutHandle,
  kUnknownAction
};

/// How a callback waits. Times are in milliseconds.
struct Pause {
  std::optional<std::uint32_t> after;  ///< resumes by itself
  bool resumes_at_once = false;        ///< before the callback has returned
  bool asks_twice = false;             ///< for a handle
  bool forgotten = false;              ///< the callback returns something else than EXTPROC_SUSPEND
  bool left_alone = false;             ///< by whoever else might resume it
};

/// What a plugin does in one phase.
struct PhasePlan {
  std::vector<Step> steps;
  std::uint32_t busy = ~0U;   ///< bits of the calls of this phase that take the steps: a body comes in many
  std::uint32_t holds = 0;    ///< likewise, those that return EXTPROC_HOLD where others continue
  bool holds_at_end = false;  ///< also where nothing can be held
  std::uint32_t waits = 0;    ///< likewise, those that wait before they end
  std::vector<Pause> pauses;  ///< how they wait, one after the other
  std::vector<Step> steps_resumed;  ///< that each on_resumed takes
  std::uint32_t takes = 0;          ///< milliseconds that a callback keeps the thread
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
  std::array<std::uint32_t, 2> body_access{};  ///< EXTPROC_ACCESS_*, by side; must fit the phases
  std::uint64_t max_body_bytes = std::uint64_t{1} << 20;
  std::array<std::uint32_t, 6> timeouts{};  ///< in milliseconds, by phase; 0: none
  std::array<PhasePlan, EXTPROC_PHASE_COUNT> phase;
};

/// What on_resumed is given by the plugin's own resumes, those of others aside.
constexpr std::uint64_t kTokenOfTimer = 1000;
constexpr std::uint64_t kTokenAtOnce = 2000;

/// Does the call of a phase with this number have its bit?
constexpr bool has_bit(std::uint32_t bits, std::uint32_t call) { return ((bits >> (call % 32)) & 1) != 0; }

constexpr std::uint32_t kDenyStatus = 503;
constexpr const char* kMetadataNamespace = "ns";

/// Names of a phase, and of the values above, for texts.
std::string phase_name(std::uint32_t phase);
std::string to_string(Outcome outcome);
std::string to_string(const Step& step);
std::string to_string(const Pause& pause);
std::string to_string(const PluginPlan& plan);
/// Bytes that can be read: escaped, and shortened if there are many.
std::string readable(const std::string& bytes);
std::string to_string(const Headers& headers);
std::string access_name(std::uint32_t access);
/// The pieces of a body; where each is a message, each by itself.
std::string pieces_seen(const std::vector<std::string>& pieces, bool messages);
/// EXTPROC_END_OF_STREAM and so on, each behind a space.
std::string flag_names(std::uint32_t flags);

}  // namespace extprocd::model
