#include "test/model/header_mutation.h"

#include <string>
#include <string_view>

namespace extprocd::model {
namespace {

using envoy::config::core::v3::HeaderValue;
using envoy::config::core::v3::HeaderValueOption;

constexpr int kMaxHeaders = 100;
constexpr std::size_t kMaxBytes = std::size_t{60} * 1024;
constexpr std::size_t kMaxGrpcBytes = 16384;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

bool valid_name(std::string_view name) {
  if (name.starts_with(':')) name.remove_prefix(1);
  constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::ranges::all_of(name, [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOther.find(c) != std::string_view::npos;
  });
}

bool valid_value(std::string_view value) {
  return std::ranges::none_of(value, [](char c) { return c == '\0' || c == '\r' || c == '\n'; });
}

bool never_set(std::string_view name, const MutationPlace& place) {
  if (name == ":method") return !place.replacing || !place.request_headers;
  return name == "host" || name == ":authority" || name == ":scheme" || name.starts_with("x-envoy");
}

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

/// Why this one setting has no effect in Envoy; empty if it has.
std::string why_skipped(const std::string& name, const std::string& value, bool append,
                        const MutationPlace& place) {
  if (never_set(name, place)) return quoted(name) + " is not settable";
  if (name.starts_with(':') && append) return quoted(name) + " cannot be appended to";
  if (name == ":status") {
    if (!place.response_headers) return ":status outside response headers";
    if (value.size() != 3 || value < "200" || value > "999") return ":status " + value;
  } else if (name.starts_with(':') && !place.request_headers) {
    return quoted(name) + " outside request headers";
  }
  if (name == "content-length" && place.strips_content_length)
    return "content-length in a mode that strips it";
  return {};
}

/// A data plane of gRFC A93 fails the stream over any of these.
std::string why_grpc_refuses(std::string_view name, std::string_view value) {
  if (name.starts_with(':') || name.starts_with("grpc-") || name == "host") return "reserved";
  if (name != lower(name)) return "upper case";
  if (name.size() > kMaxGrpcBytes || value.size() > kMaxGrpcBytes) return "longer than 16384 bytes";
  return {};
}

const std::string& value_of(const HeaderValue& header, bool grpc_data_plane) {
  // grpc-go reads raw_value for -bin names alone; Envoy reads nothing else.
  return grpc_data_plane && !header.key().ends_with("-bin") ? header.value() : header.raw_value();
}

void set(Headers& headers, const std::string& name, const std::string& value, bool append) {
  if (append) {
    headers.emplace_back(name, value);
  } else {
    overwrite(headers, name, value);
  }
}

void set_as_grpc(Headers& headers, const HeaderValueOption& option, const std::string& value) {
  const std::string& name = option.header().key();
  const bool there = first_value(headers, name).has_value();
  switch (option.append_action()) {
    case HeaderValueOption::APPEND_IF_EXISTS_OR_ADD:
      return set(headers, name, value, true);
    case HeaderValueOption::ADD_IF_ABSENT:
      if (!there) set(headers, name, value, true);
      return;
    case HeaderValueOption::OVERWRITE_IF_EXISTS:
      if (there) set(headers, name, value, false);
      return;
    default:
      return set(headers, name, value, false);
  }
}

}  // namespace

Judgement apply(const envoy::service::ext_proc::v3::HeaderMutation& mutation, const MutationPlace& place,
                Headers& headers) {
  if (mutation.set_headers_size() > kMaxHeaders || mutation.remove_headers_size() > kMaxHeaders) {
    return refused(Verdict::kHeaderMutation, "more than 100 operations");
  }
  Judgement judgement;
  for (const std::string& raw : mutation.remove_headers()) {
    if (!valid_name(raw)) return refused(Verdict::kHeaderMutation, "removal of " + quoted(raw));
    if (const std::string why = place.grpc_data_plane ? why_grpc_refuses(raw, {}) : ""; !why.empty()) {
      return refused(Verdict::kHeaderMutation, "removal of " + quoted(raw) + ": " + why);
    }
    const std::string name = lower(raw);
    if (name.starts_with(':') || name == "host" || name.starts_with("x-envoy")) {
      judgement.ignored.push_back("removal of " + quoted(name));
      continue;
    }
    remove_all(headers, name);
  }
  for (const HeaderValueOption& option : mutation.set_headers()) {
    const HeaderValue& header = option.header();
    const std::string& value = value_of(header, place.grpc_data_plane);
    if (!valid_name(header.key()) || !valid_value(value)) {
      return refused(Verdict::kHeaderMutation, "characters of " + quoted(header.key()));
    }
    if (place.grpc_data_plane) {
      const std::string why = why_grpc_refuses(header.key(), value);
      if (!why.empty()) return refused(Verdict::kHeaderMutation, quoted(header.key()) + ": " + why);
      set_as_grpc(headers, option, value);
      continue;
    }
    const std::string name = lower(header.key());
    const bool append = option.append().value();
    if (const std::string why = why_skipped(name, value, append, place); !why.empty()) {
      judgement.ignored.push_back(why);
      continue;
    }
    // Not refused, but never what the server meant.
    if (header.raw_value().empty() && !header.value().empty()) {
      judgement.ignored.push_back("value of " + quoted(name) + " without raw_value");
    }
    const auto action =
        append ? HeaderValueOption::APPEND_IF_EXISTS_OR_ADD : HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD;
    if (option.append_action() != action) {
      judgement.ignored.push_back("append_action of " + quoted(name) + ", which is not what append says");
    }
    set(headers, name, value, append);
  }
  std::size_t bytes = 0;
  for (const auto& [name, value] : headers) bytes += name.size() + value.size();
  if (headers.size() > kMaxHeaders || bytes > kMaxBytes) {
    return refused(Verdict::kHeaderMutation, "the result has " + std::to_string(headers.size()) +
                                                 " headers of " + std::to_string(bytes) + " bytes");
  }
  return judgement;
}

}  // namespace extprocd::model
