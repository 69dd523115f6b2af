#include "core/server/envoy_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

namespace extprocd::server {
namespace {

/// As protobuf's JSON writes a Duration: "0.2s".
std::string seconds(double number) {
  std::array<char, 32> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed).ptr;
  return std::string(text.data(), end) + "s";
}

constexpr uint32_t kResponsePhases = EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_HEADERS) |
                                     EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY) |
                                     EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_TRAILERS);
constexpr uint32_t kRequestPhases = EXTPROC_PHASE_BIT(EXTPROC_REQUEST_HEADERS) |
                                    EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) |
                                    EXTPROC_PHASE_BIT(EXTPROC_REQUEST_TRAILERS);

std::string header_mode(bool wanted) { return wanted ? "SEND" : "SKIP"; }

/// The mode that suits an access, and all that are weaker: where nothing is held, the one that holds nothing back.
std::string body_mode(uint32_t access) {
  switch (access) {
    case EXTPROC_ACCESS_NONE:
      return "NONE";
    case EXTPROC_ACCESS_WHOLE:
      return "BUFFERED";
    case EXTPROC_ACCESS_STREAM:
      return "FULL_DUPLEX_STREAMED";
    default:
      return "STREAMED";
  }
}

/// A YAML string in double quotes, which are those of JSON.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

void add_attributes(const engine::Chain& chain, std::set<std::string>& names) {
  for (const engine::ChainLink& link : chain.links()) {
    if (!EXTPROC_HAS(link.descriptor, extproc_plugin, attributes)) continue;
    for (const char* const* name = link.descriptor->attributes; name != nullptr && *name != nullptr; ++name) {
      names.insert(*name);
    }
  }
}

}  // namespace

EnvoySettings envoy_settings(const engine::Generation& generation, const engine::ChainTable::Entry& entry) {
  EnvoySettings settings;
  const uint32_t phases = entry.chain->phases();
  const auto wants = [phases](uint32_t phase) { return (phases & EXTPROC_PHASE_BIT(phase)) != 0; };
  settings.request_headers = wants(EXTPROC_REQUEST_HEADERS);
  settings.response_headers = wants(EXTPROC_RESPONSE_HEADERS);
  const auto access = [&](uint32_t phase, wire::Direction direction) -> uint32_t {
    return wants(phase) ? std::max<uint32_t>(entry.chain->body_access(direction), EXTPROC_ACCESS_OBSERVE)
                        : EXTPROC_ACCESS_NONE;
  };
  settings.request_body = access(EXTPROC_REQUEST_BODY, wire::Direction::kRequest);
  settings.response_body = access(EXTPROC_RESPONSE_BODY, wire::Direction::kResponse);
  // Full duplex demands them.
  settings.request_trailers =
      wants(EXTPROC_REQUEST_TRAILERS) || settings.request_body == EXTPROC_ACCESS_STREAM;
  settings.response_trailers =
      wants(EXTPROC_RESPONSE_TRAILERS) || settings.response_body == EXTPROC_ACCESS_STREAM;

  settings.message_timeout = entry.chain->data_plane().message_timeout;
  settings.max_message_timeout = entry.chain->data_plane().max_message_timeout;
  std::set<std::string> attributes;
  add_attributes(*entry.chain, attributes);
  for (const engine::ChainLink& link : entry.chain->links()) {
    settings.request_headers |= link.body_types[0] != nullptr;
    settings.response_headers |= link.body_types[1] != nullptr;
    if (link.when == nullptr) continue;
    const uint32_t own = link.descriptor->phases;
    const bool request_type = !link.when->content_type.empty() && (own & kRequestPhases) != 0;
    const bool on_response = !link.when->content_type.empty() || !link.when->status.empty();
    settings.request_headers |= link.when->request.needs_headers() || request_type;
    settings.response_headers |= on_response && (own & kResponsePhases) != 0;
  }
  // A chain that is named by metadata is chosen before the first message.
  const auto named = [](const config::NamedPatterns& wanted) {
    return wanted.name == engine::kChainMetadata;
  };
  for (const auto& other : generation.chains.entries()) {
    if (!other.match) continue;
    settings.request_headers |= other.match->needs_headers();
    for (const auto& attribute : other.match->attribute) attributes.insert(attribute.name);
    const auto& metadata = other.match->metadata;
    const auto name = std::find_if(metadata.begin(), metadata.end(), named);
    if (&other != &entry || name == metadata.end()) continue;
    for (const auto& pattern : name->patterns) settings.chain_names.push_back(pattern.to_string());
  }
  settings.attributes.assign(attributes.begin(), attributes.end());
  return settings;
}

void EnvoySettings::merge(const EnvoySettings& other) {
  request_headers |= other.request_headers;
  response_headers |= other.response_headers;
  request_body = std::max(request_body, other.request_body);
  response_body = std::max(response_body, other.response_body);
  request_trailers |= other.request_trailers;
  response_trailers |= other.response_trailers;
  message_timeout = std::max(message_timeout, other.message_timeout);
  max_message_timeout = std::max(max_message_timeout, other.max_message_timeout);
  std::set<std::string> all(attributes.begin(), attributes.end());
  all.insert(other.attributes.begin(), other.attributes.end());
  attributes.assign(all.begin(), all.end());
  chain_names.clear();
}

std::string EnvoySettings::to_yaml(const std::string& indent) const {
  std::string yaml = indent + "processing_mode:\n";
  const auto mode = [&](std::string_view key, const std::string& value) {
    yaml += indent + "  " + std::string(key) + ": " + value + "\n";
  };
  mode("request_header_mode", header_mode(request_headers));
  mode("response_header_mode", header_mode(response_headers));
  mode("request_body_mode", body_mode(request_body));
  mode("response_body_mode", body_mode(response_body));
  mode("request_trailer_mode", header_mode(request_trailers));
  mode("response_trailer_mode", header_mode(response_trailers));
  if (!attributes.empty()) {
    // Envoy sends them with a direction's first message.
    const bool with_request = request_headers || request_body != EXTPROC_ACCESS_NONE || request_trailers;
    yaml += indent + (with_request ? "request_attributes: [" : "response_attributes: [");
    for (const std::string& name : attributes)
      yaml += (&name == &attributes.front() ? "" : ", ") + quoted(name);
    yaml += "]\n";
  }
  // Envoy's default of 200 ms covers one answer; a body may keep a loaded machine busy for longer.
  const double unstated = request_body + response_body != EXTPROC_ACCESS_NONE ? 1 : 0.2;
  yaml += indent + "message_timeout: " + seconds(message_timeout != 0 ? message_timeout : unstated) + "\n";
  if (max_message_timeout != 0)
    yaml += indent + "max_message_timeout: " + seconds(max_message_timeout) + "\n";
  return yaml;
}

}  // namespace extprocd::server
