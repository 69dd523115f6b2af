// The default plugin: a request, or an upstream's response, says in a header what shall become of its own
// headers and body. Stands in for the sample server of kgateway's ExtProc guide.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <extproc/plugin.hpp>

#include "plugins/instructions/document.h"
#include "plugins/instructions/header_names.h"

namespace instructions {
namespace {

constexpr uint64_t kDefaultMaxBytes = uint64_t{64} * 1024;

/// A token as HTTP has it, or one behind a colon: what can be a name at all. The host knows the rest.
bool is_name(std::string_view name) {
  if (!name.empty() && name[0] == ':') name.remove_prefix(1);
  constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOther.find(c) != std::string_view::npos;
  });
}

/// "name:value" entries, or a table; nothing is trimmed, as in the sample server.
Pairs read_added_headers(const extproc::Config& config) {
  constexpr std::string_view kKey = "add_request_headers";
  Pairs headers;
  if (config.is_table(kKey)) {
    headers = config.string_table(kKey);
  } else {
    for (const std::string& entry : config.strings(kKey)) {
      const std::size_t colon = entry.find(':');
      if (colon == std::string::npos || colon == 0) {
        config.error(kKey, "must have entries of the form \"name:value\", not \"" + entry + "\"");
        continue;
      }
      headers.emplace_back(entry.substr(0, colon), entry.substr(colon + 1));
    }
  }
  for (const auto& [name, value] : headers) {
    if (!is_name(name)) config.error(kKey, "'" + name + "' is not a header name");
  }
  return headers;
}

/// Names, or prefixes that end in '*'.
std::vector<std::string> read_patterns(const extproc::Config& config, std::string_view key) {
  std::vector<std::string> patterns = config.strings(key);
  for (const std::string& pattern : patterns) {
    if (pattern.empty() || pattern.find('*') < pattern.size() - 1) {
      config.error(key, "must have names, or prefixes that end in '*', not \"" + pattern + "\"");
    }
  }
  return patterns;
}

}  // namespace

class Instructions : public extproc::Plugin {
 public:
  Instructions(const extproc::Config& config, extproc::Host& host)
      : header_(config.string_or("header", "instructions")),
        strip_(config.bool_or("strip", false)),
        max_bytes_(config.size_or("max_bytes", kDefaultMaxBytes)),
        added_(read_added_headers(config)),
        names_{read_patterns(config, "allow"), read_patterns(config, "deny")},
        forbidden_(host.counter("forbidden_total", "Changes left out because the data plane refuses them.")),
        denied_(host.counter("denied_total", "Changes left out because of the options allow and deny.")) {
    if (!is_name(header_)) config.error("header", "'" + header_ + "' is not a header name");
  }

  struct Stream : extproc::Stream<Instructions> {
    using extproc::Stream<Instructions>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      follow(headers, request_trailers_);
      for (const auto& [name, value] : plugin().added_) set(headers, name, value);
      return extproc::proceed();
    }
    extproc::Action on_response_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      follow(headers, response_trailers_);
      return extproc::proceed();
    }
    extproc::Action on_request_trailers(extproc::HeaderMap& trailers) override {
      return set_trailers(trailers, request_trailers_);
    }
    extproc::Action on_response_trailers(extproc::HeaderMap& trailers) override {
      return set_trailers(trailers, response_trailers_);
    }

   private:
    /// Does what the message's instructions say, if it has any.
    void follow(extproc::HeaderMap& headers, Pairs& trailers) {
      const auto value = headers.first(plugin().header_);
      if (!value) return;
      if (value->size() > plugin().max_bytes_) {
        throw extproc::Error(extproc::GrpcCode::kResourceExhausted,
                             "instructions of " + std::to_string(value->size()) + " bytes; max_bytes is " +
                                 std::to_string(plugin().max_bytes_));
      }
      Document document = parse(*value);
      if (plugin().strip_) headers.remove(plugin().header_);
      // First, because a replaced request may change its :method too.
      if (!document.set_body.empty()) replace_body(document.set_body);
      for (const std::string& name : document.remove_headers) {
        if (permitted(name)) settle(headers, headers.try_remove(name));
      }
      for (const auto& [name, text] : document.add_headers) {
        if (permitted(name)) set(headers, name, text);
      }
      if (!document.set_body.empty()) set(headers, "content-type", "text/plain");
      trailers = std::move(document.set_trailers);
    }

    extproc::Action set_trailers(extproc::HeaderMap& trailers, const Pairs& wanted) {
      for (const auto& [name, value] : wanted) {
        if (permitted(name)) set(trailers, name, value);
      }
      return extproc::proceed();
    }

    void set(extproc::HeaderMap& headers, std::string_view name, std::string_view value) {
      settle(headers, headers.try_set(name, value));
    }

    /// What the data plane would ignore is left out and counted; anything else that is refused is a failure.
    void settle(const extproc::HeaderMap& headers, extproc::Status status) {
      if (status == extproc::Status::kForbidden) {
        plugin().forbidden_.increment();
      } else if (status != extproc::Status::kOk) {
        throw extproc::Refused(status, "instructions", headers.last_error());
      }
    }

    bool permitted(std::string_view name) {
      if (plugin().names_.permits(name)) return true;
      plugin().denied_.increment();
      return false;
    }

    Pairs request_trailers_;
    Pairs response_trailers_;
  };

 private:
  const std::string header_;
  const bool strip_;
  const uint64_t max_bytes_;
  const Pairs added_;
  const HeaderNames names_;
  const extproc::Counter forbidden_;
  const extproc::Counter denied_;
};

}  // namespace instructions

EXTPROC_EXPORT_PLUGIN(instructions::Instructions, "extproc.instructions", "1.0.0")
