#include "core/wire/reply_writer.h"

#include <array>
#include <ranges>
#include <string>

#include "core/http/utf8.h"
#include "core/wire/decoder.h"

// The encoder writes backwards: within each message the field with the highest number is put first.

namespace extprocd::wire {
namespace {

constexpr uint32_t headers_field(Direction direction) { return direction == Direction::kRequest ? 1 : 2; }
constexpr uint32_t body_field(Direction direction) { return direction == Direction::kRequest ? 3 : 4; }
constexpr uint32_t trailers_field(Direction direction) { return direction == Direction::kRequest ? 5 : 6; }
constexpr uint32_t kImmediateResponse = 7;

/// Replies that change nothing, prepared: an empty submessage, by its field.
constexpr std::array<std::array<char, 2>, 7> kUntouched = [] {
  std::array<std::array<char, 2>, 7> replies{};
  for (uint32_t field = 0; field < replies.size(); ++field) {
    replies[field] = {static_cast<char>(bytes_tag(field)), 0};
  }
  return replies;
}();

std::string_view untouched(uint32_t field) {
  const auto& reply = kUntouched.at(field);
  return {reply.data(), reply.size()};
}

bool is_empty(const Extras& extras) {
  return extras.dynamic_metadata.empty() && extras.typed_dynamic_metadata.empty() && !extras.window_update &&
         !extras.mode_override && !extras.request_drain;
}

constexpr uint32_t kDynamicMetadata = 8;
constexpr uint32_t kModeOverride = 9;
constexpr uint32_t kOverrideMessageTimeout = 10;
constexpr uint32_t kStreamedImmediateResponse = 11;
constexpr uint32_t kRequestDrain = 12;
constexpr uint32_t kRequestDrainRequests = 15;
constexpr uint32_t kRequestDrainResponses = 16;
constexpr uint32_t kServerWindowUpdate = 14;

constexpr uint64_t kContinueAndReplace = 1;
constexpr int64_t kAppendIfExistsOrAdd = 0;
constexpr int64_t kOverwriteIfExistsOrAdd = 2;

bool has_changes(const http::HeaderMutation* mutation) { return mutation != nullptr && !mutation->empty(); }

}  // namespace

void ReplyWriter::put_window_update(const ServerWindowUpdate& update) {
  out_.put_message(kServerWindowUpdate, [&] {
    out_.put_number(2, update.upstream_to_sidestream);
    out_.put_number(1, update.downstream_to_sidestream);
  });
}

void ReplyWriter::put_extras_behind(const Extras& extras) {
  out_.put_flag(kRequestDrainResponses, extras.request_drain);
  out_.put_flag(kRequestDrainRequests, extras.request_drain);
  if (extras.window_update) put_window_update(*extras.window_update);
  out_.put_fields(extras.typed_dynamic_metadata);
  out_.put_flag(kRequestDrain, extras.request_drain);
  if (extras.mode_override) put_mode_override(*extras.mode_override);
  if (!extras.dynamic_metadata.empty()) out_.put_bytes(kDynamicMetadata, extras.dynamic_metadata);
}

void ReplyWriter::put_mode_override(const ModeOverride& mode) {
  out_.put_message(kModeOverride, [&] {
    out_.put_number(6, static_cast<int64_t>(mode.response_trailers));
    out_.put_number(5, static_cast<int64_t>(mode.request_trailers));
    out_.put_number(4, static_cast<int64_t>(mode.response_body));
    out_.put_number(3, static_cast<int64_t>(mode.request_body));
    out_.put_number(2, static_cast<int64_t>(mode.response_headers));
  });
}

void ReplyWriter::put_header_value(const http::SetHeader& header) {
  const bool with_value = grpc_data_plane_ && !header.name.ends_with("-bin") && http::is_utf8(header.value);
  out_.put_message(1, [&] {
    if (!header.value.empty()) out_.put_bytes(3, header.value);
    if (with_value && !header.value.empty()) out_.put_bytes(2, header.value);
    out_.put_bytes(1, header.name);
  });
}

void ReplyWriter::put_set_header(const http::SetHeader& header) {
  out_.put_message(1, [&] {  // HeaderValueOption
    out_.put_number(3, header.append ? kAppendIfExistsOrAdd : kOverwriteIfExistsOrAdd);
    out_.put_message(2, [&] { out_.put_flag(1, header.append); });
    put_header_value(header);
  });
}

void ReplyWriter::put_header_map(uint32_t field, std::span<const http::SetHeader> headers,
                                 std::optional<uint32_t> status) {
  out_.put_message(field, [&] {
    for (const http::SetHeader& header : std::views::reverse(headers)) put_header_value(header);
    if (status) put_header_value({":status", std::to_string(*status), false});
  });
}

void ReplyWriter::put_mutation(uint32_t field, const http::HeaderMutation& mutation) {
  out_.put_message(field, [&] {
    for (const std::string_view name : std::views::reverse(mutation.remove)) out_.put_bytes(2, name);
    for (const http::SetHeader& header : std::views::reverse(mutation.set)) put_set_header(header);
  });
}

std::string_view ReplyWriter::headers(Direction direction, const HeaderReply& reply, const Extras& extras) {
  const bool clear_route_cache = reply.clear_route_cache && direction == Direction::kRequest;
  const bool changes = has_changes(reply.mutation) || clear_route_cache || reply.replace_body;
  if (!changes && is_empty(extras)) return untouched(headers_field(direction));
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(headers_field(direction), [&] {
    if (!changes) return;
    out_.put_message(1, [&] {  // CommonResponse
      out_.put_flag(5, clear_route_cache);
      if (reply.replace_body) out_.put_message(3, [&] { out_.put_bytes(1, *reply.replace_body); });
      if (has_changes(reply.mutation)) {
        put_mutation(2, *reply.mutation);
      } else if (clear_route_cache) {
        put_mutation(2, {});
      }
      if (reply.replace_body) out_.put_varint(1, kContinueAndReplace);
    });
  });
  return out_.view();
}

std::string_view ReplyWriter::body(Direction direction, const Extras& extras) {
  if (is_empty(extras)) return untouched(body_field(direction));
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(body_field(direction), [] {});
  return out_.view();
}

Pieces ReplyWriter::body(Direction direction, const BodyReply& reply, const Extras& extras) {
  const bool clear_route_cache = reply.clear_route_cache && direction == Direction::kRequest;
  if (!has_changes(reply.mutation) && !clear_route_cache && !reply.replace) return body(direction, extras);
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(body_field(direction), [&] {
    out_.put_message(1, [&] {  // CommonResponse
      out_.put_flag(5, clear_route_cache);
      if (reply.replace) {
        out_.put_message(3, [&] {  // BodyMutation
          if (reply.replace->empty()) {
            out_.put_flag(2, true);
          } else {
            out_.put_borrowed(1, *reply.replace);
          }
        });
      }
      if (has_changes(reply.mutation)) {
        put_mutation(2, *reply.mutation);
      } else if (clear_route_cache) {
        put_mutation(2, {});
      }
    });
  });
  return out_.pieces();
}

Pieces ReplyWriter::streamed_body(Direction direction, const StreamedBody& body, const Extras& extras) {
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(body_field(direction), [&] {
    out_.put_message(1, [&] {      // CommonResponse
      out_.put_message(3, [&] {    // BodyMutation
        out_.put_message(3, [&] {  // StreamedBodyResponse
          out_.put_flag(5, body.drain_complete);
          out_.put_flag(4, body.grpc_message_compressed);
          out_.put_flag(3, body.end_of_stream_without_message);
          out_.put_flag(2, body.end_of_stream);
          if (!body.bytes.empty()) out_.put_borrowed(1, body.bytes);
        });
      });
    });
  });
  return out_.pieces();
}

std::string_view ReplyWriter::trailers(Direction direction, const http::HeaderMutation* mutation,
                                       const Extras& extras) {
  if (!has_changes(mutation) && is_empty(extras)) return untouched(trailers_field(direction));
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(trailers_field(direction), [&] {
    if (has_changes(mutation)) put_mutation(1, *mutation);
  });
  return out_.view();
}

std::string_view ReplyWriter::immediate(const ImmediateReply& reply, const Extras& extras) {
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(kImmediateResponse, [&] {
    if (!reply.details.empty()) {
      out_.put_bytes(5, http::repair_utf8(reply.details));
    }
    if (reply.grpc_status) out_.put_message(4, [&] { out_.put_number(1, *reply.grpc_status); });
    if (!reply.body.empty()) out_.put_bytes(3, reply.body);
    if (has_changes(reply.mutation)) put_mutation(2, *reply.mutation);
    out_.put_message(1, [&] { out_.put_number(1, reply.status); });
  });
  return out_.view();
}

std::string_view ReplyWriter::streamed_immediate_headers(const ImmediateReply& reply, bool end_of_stream,
                                                         const Extras& extras) {
  out_.clear();
  put_extras_behind(extras);
  out_.put_message(kStreamedImmediateResponse, [&] {
    out_.put_message(1, [&] {  // HttpHeaders
      out_.put_flag(3, end_of_stream);
      put_header_map(1, reply.mutation == nullptr ? std::span<const http::SetHeader>() : reply.mutation->set,
                     reply.status);
    });
  });
  return out_.view();
}

Pieces ReplyWriter::streamed_immediate_body(std::string_view bytes, bool end_of_stream) {
  out_.clear();
  out_.put_message(kStreamedImmediateResponse, [&] {
    out_.put_message(2, [&] {  // StreamedBodyResponse
      out_.put_flag(2, end_of_stream);
      if (!bytes.empty()) out_.put_borrowed(1, bytes);
    });
  });
  return out_.pieces();
}

std::string_view ReplyWriter::streamed_immediate_trailers(std::span<const http::SetHeader> trailers) {
  out_.clear();
  out_.put_message(kStreamedImmediateResponse, [&] { put_header_map(3, trailers, std::nullopt); });
  return out_.view();
}

std::string_view ReplyWriter::override_message_timeout(uint64_t milliseconds) {
  constexpr uint64_t kPerSecond = 1000;
  constexpr uint64_t kNanosPerMilli = 1'000'000;
  out_.clear();
  out_.put_message(kOverrideMessageTimeout, [&] {  // Duration
    out_.put_number(2, static_cast<int64_t>(milliseconds % kPerSecond * kNanosPerMilli));
    out_.put_number(1, static_cast<int64_t>(milliseconds / kPerSecond));
  });
  return out_.view();
}

std::string_view ReplyWriter::request_drain() {
  out_.clear();
  put_extras_behind({.request_drain = true});
  return out_.view();
}

std::string_view ReplyWriter::window_update(const ServerWindowUpdate& update) {
  out_.clear();
  put_window_update(update);
  return out_.view();
}

}  // namespace extprocd::wire
