#pragma once

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/model/http_message.h"
#include "test/model/judgement.h"

namespace extprocd::model {

/// Where a header mutation is applied, as far as the rules depend on it.
struct MutationPlace {
  bool request_headers = false;
  bool response_headers = false;
  bool replacing = false;              ///< CONTINUE_AND_REPLACE, which unlocks :method
  bool strips_content_length = false;  ///< the mode in which Envoy removes it, and skips setting it
  bool grpc_data_plane = false;
};

/// Applies a mutation as Envoy does under its default mutation_rules (or as gRFC A93 says): removals first, then the
/// settings one after the other. Headers of a refused mutation are left half changed.
Judgement apply(const envoy::service::ext_proc::v3::HeaderMutation& mutation, const MutationPlace& place,
                Headers& headers);

}  // namespace extprocd::model
