#pragma once

#include <cstddef>
#include <string>

namespace extprocd::transport {

/// The peer of an accepted connection as gRPC writes it: "ipv4:127.0.0.1:4711", "ipv6:[::1]:4711", with
/// "%" and its number for an address with a scope; "unix:". Empty if it is gone.
std::string peer_of(int socket);

/// Is it a Unix socket's connection?
bool is_unix_socket(int socket);

/// So many connections, or fewer where the process may not open as many files.
std::size_t within_file_limit(std::size_t connections);

}  // namespace extprocd::transport
