#pragma once

#include <memory>

#include "core/transport/tls.h"

namespace grpc {
class ServerCredentials;
}

namespace extprocd::transport {

/// grpc++'s view of a TLS context, renewed with it. What this returns outlives the server that is made with it.
/// grpc++ 1.51 itself checks ALPN, and has no way to leave out TLS 1.2.
std::shared_ptr<grpc::ServerCredentials> tls_server_credentials(std::shared_ptr<TlsContext> tls);

}  // namespace extprocd::transport
