// Streams for which there is no room.

#include <string>

#include "core/engine/overload.h"
#include "core/engine/stream.h"

namespace extprocd::engine {

using config::FailurePolicy;

/// Is there room for a stream whose first message comes? If not, it is over (false), or gets a chain without plugins.
bool Stream::is_let_in(const Incoming& incoming) {
  const config::Overload& rule = generation_->config.server.overload;
  const auto limit = exceeded_limit(rule, metrics_);
  if (!limit) return true;
  const bool impossible =
      rule.policy == FailurePolicy::kDeny && !reply_possible(incoming.direction, incoming.part);
  const FailurePolicy policy = impossible ? FailurePolicy::kFail : rule.policy;
  const std::string text = report_overload(rule, *limit, policy, metrics_);
  switch (policy) {
    case FailurePolicy::kSkip:
      begin_chain(no_chain());
      return true;
    case FailurePolicy::kDeny:
      deny_and_stop(rule.deny_status, "extproc_overload", incoming.scratch);
      return false;
    case FailurePolicy::kFail:
      break;
  }
  finish(absl::ResourceExhaustedError(text), telemetry::EndReason::kFailed);
  return false;
}

}  // namespace extprocd::engine
