#include "core/config/address.h"

#include <algorithm>
#include <charconv>

#include <sys/un.h>

namespace extprocd::config {
namespace {

constexpr std::size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;

absl::Status malformed() {
  return absl::InvalidArgumentError("write host:port, [IPv6]:port or unix:/absolute/path");
}

absl::StatusOr<Address> parse_unix(std::string_view path) {
  if (!path.starts_with('/')) return absl::InvalidArgumentError("the path behind unix: must be absolute");
  if (path.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("the path has a NUL byte");
  if (path.size() > kMaxPath) {
    return absl::InvalidArgumentError("the path of a Unix socket has at most " + std::to_string(kMaxPath) +
                                      " bytes");
  }
  Address address;
  address.kind = Address::Kind::kUnix;
  address.path = path;
  return address;
}

}  // namespace

std::string Address::to_string() const {
  if (kind == Kind::kUnix) return "unix:" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

absl::StatusOr<Address> parse_address(std::string_view text) {
  if (text.starts_with("unix:")) return parse_unix(text.substr(5));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return malformed();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  Address address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) {
    return absl::InvalidArgumentError("the port must be a number from 0 to 65535");
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (host.empty()) return malformed();
  } else if (host.find(':') != std::string_view::npos) {
    return absl::InvalidArgumentError("an IPv6 address needs brackets: [::1]:18080");
  }
  const bool bad_byte = std::any_of(host.begin(), host.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f || c == '/' ||
           c == '[' || c == ']';
  });
  if (bad_byte) return malformed();
  address.host = host.empty() ? "::" : std::string(host);
  return address;
}

}  // namespace extprocd::config
