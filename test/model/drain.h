#pragma once

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

namespace extprocd::model {

/// request_drain, the form that grpc-go 1.85 knows. The generated accessor is marked as deprecated.
inline bool requests_drain(const envoy::service::ext_proc::v3::ProcessingResponse& reply) {
  return reply.GetReflection()->GetBool(reply, reply.GetDescriptor()->FindFieldByName("request_drain"));
}

}  // namespace extprocd::model
