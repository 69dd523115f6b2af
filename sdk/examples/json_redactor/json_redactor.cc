// Replaces the values of configured keys, at any depth, in the JSON of requests and responses.
#include <algorithm>
#include <string>
#include <vector>

#include <extproc/plugin.hpp>
#include <nlohmann/json.hpp>

class JsonRedactor : public extproc::Plugin {
 public:
  // Each body comes in one call, and only bodies of this type come at all.
  static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kWhole;
  static constexpr extproc::BodyAccess response_body_access = extproc::BodyAccess::kWhole;
  static constexpr const char* request_body_types[] = {"application/json", nullptr};
  static constexpr const char* response_body_types[] = {"application/json", nullptr};

  JsonRedactor(const extproc::Config& config, extproc::Host&)
      : keys_(config.strings("keys")), mask_(config.string_or("mask", "***")) {
    if (keys_.empty()) config.error("keys", "must name at least one key");
  }

  struct Stream : extproc::Stream<JsonRedactor> {
    using extproc::Stream<JsonRedactor>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      headers.remove("accept-encoding");  // a compressed answer could not be read
      return extproc::proceed();
    }

    extproc::Action on_request_body(extproc::Body& body, extproc::EndOfStream) override {
      if (!plugin().redact(body)) return extproc::reply(400, "the request's body is not JSON\n");
      return extproc::proceed();
    }

    extproc::Action on_response_body(extproc::Body& body, extproc::EndOfStream) override {
      if (!plugin().redact(body)) return extproc::reply(502, "the response's body is not JSON\n");
      return extproc::proceed();
    }
  };

 private:
  using Json = nlohmann::ordered_json;  // keys stay in their order
  static constexpr int kMaxDepth = 100;

  // Whether the body is JSON, or empty. One without any of the keys goes on byte for byte.
  bool redact(extproc::Body& body) const {
    if (body.empty()) return true;
    bool too_deep = false;
    const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
      too_deep = too_deep || depth > kMaxDepth;
      return !too_deep;
    };
    Json document = Json::parse(body.view(), limit_depth, /*allow_exceptions=*/false);
    if (document.is_discarded() || too_deep) return false;
    if (redact(document)) body.replace(document.dump());
    return true;
  }

  bool redact(Json& value) const {
    bool found = false;
    for (auto& [key, item] : value.items()) {
      if (value.is_object() && std::find(keys_.begin(), keys_.end(), key) != keys_.end()) {
        item = mask_;
        found = true;
      } else if (item.is_structured()) {
        found = redact(item) || found;
      }
    }
    return found;
  }

  std::vector<std::string> keys_;
  std::string mask_;
};

EXTPROC_EXPORT_PLUGIN(JsonRedactor, "example.json-redactor", "1.0.0")
