#pragma once

#include <cstddef>
#include <string>

namespace extprocd::transport {

/// The peer of an accepted TCP connection as gRPC writes it ("ipv4:127.0.0.1:4711", "ipv6:[::1]:4711"); empty
/// for other sockets, and for addresses with a scope.
std::string peer_of(int socket);

/// So many connections, or fewer where the process may not open as many files.
std::size_t within_file_limit(std::size_t connections);

}  // namespace extprocd::transport
