#include "test/bench/load/reply.h"

#include "core/wire/decoder.h"

namespace extprocd::bench {
namespace {

using wire::bytes_tag;
using wire::Decoder;
using wire::varint_tag;

bool read_streamed_body(Decoder& in, Reply& reply) {
  reply.is_streamed = true;
  return in.read_message([&reply](Decoder& field) {
    switch (field.tag()) {
      case bytes_tag(1):
        return field.read(reply.body);
      case varint_tag(2):
        return field.read(reply.end_of_stream);
      default:
        return field.skip();
    }
  });
}

bool read_common(Decoder& in, Reply& reply) {
  return in.read_message([&reply](Decoder& field) {
    switch (field.tag()) {
      case bytes_tag(2):
        reply.has_header_mutation = true;
        return field.skip();
      case bytes_tag(3):  // BodyMutation
        return field.read_message([&reply](Decoder& mutation) {
          return mutation.tag() == bytes_tag(3) ? read_streamed_body(mutation, reply) : mutation.skip();
        });
      default:
        return field.skip();
    }
  });
}

}  // namespace

std::string_view name_of(ReplyKind kind) {
  switch (kind) {
    case ReplyKind::kNone:
      return "no answer at all";
    case ReplyKind::kRequestHeaders:
      return "request_headers";
    case ReplyKind::kResponseHeaders:
      return "response_headers";
    case ReplyKind::kRequestBody:
      return "request_body";
    case ReplyKind::kResponseBody:
      return "response_body";
    case ReplyKind::kRequestTrailers:
      return "request_trailers";
    case ReplyKind::kResponseTrailers:
      return "response_trailers";
    case ReplyKind::kImmediate:
      return "immediate_response";
    case ReplyKind::kStreamedImmediate:
      return "streamed_immediate_response";
  }
  return "?";
}

bool read_reply(std::string_view message, Reply& reply) {
  reply = {};
  Decoder::Error error;
  Decoder in(message, error);
  return in.read_fields([&reply](Decoder& field) {
    switch (field.tag()) {
      case bytes_tag(1):
      case bytes_tag(2):
      case bytes_tag(3):
      case bytes_tag(4):
        reply.kind = static_cast<ReplyKind>(field.tag() >> 3);
        // HeadersResponse and BodyResponse: both have nothing but a CommonResponse in field 1.
        return field.read_message([&reply](Decoder& inner) {
          return inner.tag() == bytes_tag(1) ? read_common(inner, reply) : inner.skip();
        });
      case bytes_tag(5):
      case bytes_tag(6):
      case bytes_tag(7):
      case bytes_tag(11):
        reply.kind = static_cast<ReplyKind>(field.tag() >> 3);
        return field.skip();
      default:
        return field.skip();
    }
  });
}

}  // namespace extprocd::bench
