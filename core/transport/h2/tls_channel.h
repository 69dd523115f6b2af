#pragma once

#include <memory>
#include <string>

#include "core/transport/h2/channel.h"
#include "core/transport/tls.h"
#include "core/transport/tls_handshakes.h"

namespace extprocd::transport::h2 {

/// A channel with TLS; the first reads make the handshake. `peer` is for the log. `handshakes` outlives it. Null:
/// there is no memory for it. The process ignores SIGPIPE, which OpenSSL's writes to a peer that is gone may raise.
std::unique_ptr<Channel> make_tls_channel(Descriptor socket, SessionPtr session, TlsHandshakes& handshakes,
                                          std::string peer);

}  // namespace extprocd::transport::h2
