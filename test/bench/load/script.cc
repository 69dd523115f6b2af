#include "test/bench/load/script.h"

#include <algorithm>
#include <utility>

#include <envoy/service/ext_proc/v3/external_processor.pb.h>

#include "test/bench/session.h"

namespace extprocd::bench {
namespace {

using envoy::config::core::v3::HeaderMap;
using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
using envoy::service::ext_proc::v3::HttpBody;
using envoy::service::ext_proc::v3::ProcessingRequest;

using Headers = std::vector<std::pair<std::string, std::string>>;

// A browser's call of an API behind a gateway.
const Headers& request_headers() {
  static const Headers headers = {
      {":authority", "shop.example.com"},
      {":path", "/api/v2/orders?customer=48151623&page=2&sort=-created"},
      {":method", "GET"},
      {":scheme", "https"},
      {"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
      {"accept", "application/json, text/plain, */*"},
      {"accept-language", "en-GB,en;q=0.7,de;q=0.3"},
      {"accept-encoding", "gzip, deflate, br, zstd"},
      {"referer", "https://shop.example.com/account/orders"},
      {"authorization", "Bearer " + std::string(320, 'k')},
      {"cookie", "session=" + std::string(64, 's') + "; consent=all; theme=dark"},
      {"sec-fetch-dest", "empty"},
      {"sec-fetch-mode", "cors"},
      {"sec-fetch-site", "same-origin"},
      {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
      {"x-forwarded-for", "203.0.113.7"},
      {"x-forwarded-proto", "https"},
      {"x-envoy-external-address", "203.0.113.7"},
      {"x-request-id", "0b9f5d7e-6d0c-4f4e-9f0a-3f6e2c1d8a55"},
  };
  return headers;
}

const Headers& response_headers() {
  static const Headers headers = {
      {":status", "200"},
      {"content-type", "application/json; charset=utf-8"},
      {"date", "Wed, 01 Jul 2026 09:30:00 GMT"},
      {"cache-control", "private, max-age=0, must-revalidate"},
      {"etag", "W/\"5f2b-18f3c2a9d10\""},
      {"vary", "accept-encoding, origin"},
      {"strict-transport-security", "max-age=63072000; includeSubDomains"},
      {"x-content-type-options", "nosniff"},
      {"set-cookie", "session=" + std::string(64, 's') + "; Path=/; Secure; HttpOnly; SameSite=Lax"},
      {"server", "envoy"},
      {"x-envoy-upstream-service-time", "12"},
      {"x-request-id", "0b9f5d7e-6d0c-4f4e-9f0a-3f6e2c1d8a55"},
  };
  return headers;
}

void add(HeaderMap& map, const Headers& headers) {
  for (const auto& [name, value] : headers) {
    auto* header = map.add_headers();
    header->set_key(name);
    header->set_raw_value(value);  // Envoy fills nothing else
  }
}

void append(std::string& frames, const ProcessingRequest& message) {
  append_framed(frames, message.SerializeAsString());
}

/// Envoy sets metadata_context on every message, though there be nothing in it.
ProcessingRequest message() {
  ProcessingRequest request;
  request.mutable_metadata_context();
  return request;
}

ProcessingMode::BodySendMode body_mode(Profile profile) {
  switch (profile) {
    case Profile::kHeaders:
      return ProcessingMode::NONE;
    case Profile::kBuffered:
      return ProcessingMode::BUFFERED;
    case Profile::kDuplex:
      return ProcessingMode::FULL_DUPLEX_STREAMED;
  }
  return ProcessingMode::NONE;
}

ProcessingRequest first_message(const ScriptOptions& options) {
  const bool has_body = options.profile != Profile::kHeaders;
  ProcessingRequest request = message();
  auto& headers = *request.mutable_request_headers();
  add(*headers.mutable_headers(), request_headers());
  if (has_body) {
    (*headers.mutable_headers()->mutable_headers(2)).set_raw_value("POST");
    add(*headers.mutable_headers(), {{"content-type", "application/json"}});
  }
  if (!options.instructions.empty())
    add(*headers.mutable_headers(), {{"instructions", options.instructions}});
  headers.set_end_of_stream(!has_body);
  auto& config = *request.mutable_protocol_config();
  config.set_request_body_mode(body_mode(options.profile));
  config.set_response_body_mode(body_mode(options.profile));
  return request;
}

ProcessingRequest response_message(bool has_body) {
  ProcessingRequest request = message();
  auto& headers = *request.mutable_response_headers();
  add(*headers.mutable_headers(), response_headers());
  headers.set_end_of_stream(!has_body);
  return request;
}

using BodyOf = HttpBody* (*)(ProcessingRequest&);
HttpBody* request_body(ProcessingRequest& request) { return request.mutable_request_body(); }
HttpBody* response_body(ProcessingRequest& request) { return request.mutable_response_body(); }

/// The body in messages of at most `chunk` bytes, the last with end_of_stream.
std::string body_frames(const std::string& body, std::size_t chunk, BodyOf body_of) {
  std::string frames;
  std::size_t at = 0;
  do {
    ProcessingRequest request = message();
    HttpBody& piece = *body_of(request);
    piece.set_body(body.substr(at, chunk));
    at += piece.body().size();
    piece.set_end_of_stream(at == body.size());
    append(frames, request);
  } while (at < body.size());
  return frames;
}

std::string framed(const ProcessingRequest& request) {
  std::string frames;
  append(frames, request);
  return frames;
}

std::string text_of(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

}  // namespace

Script::Script(const ScriptOptions& options) {
  const std::string request = framed(first_message(options));
  const std::string response = framed(response_message(options.profile != Profile::kHeaders));
  const Answer to_request{.kind = ReplyKind::kRequestHeaders};
  const Answer to_response{.kind = ReplyKind::kResponseHeaders};
  if (options.profile != Profile::kHeaders) body = text_of(options.body);
  const std::size_t chunk =
      options.profile == Profile::kDuplex ? options.chunk : std::max(body.size(), std::size_t{1});
  const std::string request_frames = body_frames(body, chunk, request_body);
  const std::string response_frames = body_frames(body, chunk, response_body);
  switch (options.profile) {
    case Profile::kHeaders:
      steps = {{"request_headers", request, {to_request}}, {"response_headers", response, {to_response}}};
      return;
    case Profile::kBuffered:
      steps = {{"request_headers", request, {to_request}},
               {"request_body", request_frames, {{.kind = ReplyKind::kRequestBody}}},
               {"response_headers", response, {to_response}},
               {"response_body", response_frames, {{.kind = ReplyKind::kResponseBody}}}};
      return;
    case Profile::kDuplex:
      // In this mode Envoy waits for nothing within a direction.
      steps = {{"request", request + request_frames, {to_request, {ReplyKind::kRequestBody, true}}},
               {"response", response + response_frames, {to_response, {ReplyKind::kResponseBody, true}}}};
      return;
  }
}

}  // namespace extprocd::bench
