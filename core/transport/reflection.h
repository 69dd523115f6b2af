#pragma once

#include "core/transport/services.h"

namespace extprocd::transport {

/// Adds grpc.reflection.v1 and v1alpha, so that tools such as grpcurl can list and call the services:
/// Process, health and reflection itself, with the descriptors of all their messages.
void add_reflection_service(Services& services);

}  // namespace extprocd::transport
