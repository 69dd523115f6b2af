#include "test/bench/answers.h"

#include <algorithm>

#include "core/http/header_mutation.h"

namespace extprocd::bench {
namespace {

using wire::BodyMode;
using wire::Direction;
using wire::MessageKind;

constexpr std::size_t kPiece = 62u << 10;  // Envoy advises at most 64 KiB

}  // namespace

Answers::Answers(std::string_view set_header, Fault fault) : fault_(fault) {
  http::HeaderMutation mutation;
  if (!set_header.empty()) {
    const std::size_t colon = std::min(set_header.find(':'), set_header.size());
    mutation.set.push_back(
        {set_header.substr(0, colon), set_header.substr(std::min(colon + 1, set_header.size()))});
  }
  const auto can = [this](MessageKind kind, std::string_view reply) {
    canned_.at(static_cast<std::size_t>(kind)) = reply;
  };
  const bool swapped = fault_ == Fault::kKind;
  const Direction request = swapped ? Direction::kResponse : Direction::kRequest;
  const Direction response = swapped ? Direction::kRequest : Direction::kResponse;
  can(MessageKind::kRequestHeaders, writer_.headers(request, {.mutation = &mutation}));
  can(MessageKind::kResponseHeaders, writer_.headers(response, {}));
  can(MessageKind::kRequestBody, writer_.body(request));
  can(MessageKind::kResponseBody, writer_.body(response));
  can(MessageKind::kRequestTrailers, writer_.trailers(request, nullptr));
  can(MessageKind::kResponseTrailers, writer_.trailers(response, nullptr));
}

bool Answers::is_echoed(BodyMode mode) const {
  if (fault_ == Fault::kStreamed) return true;
  if (fault_ == Fault::kUnstreamed) return false;
  return mode == BodyMode::kFullDuplexStreamed || mode == BodyMode::kGrpc;
}

void Answers::answer(const wire::RequestView& request, const wire::ProtocolConfig& modes, ReplySink& sink) {
  if (request.kind() == MessageKind::kRequestBody && is_echoed(modes.request_body_mode)) {
    return echo(request, Direction::kRequest, sink);
  }
  if (request.kind() == MessageKind::kResponseBody && is_echoed(modes.response_body_mode)) {
    return echo(request, Direction::kResponse, sink);
  }
  if (request.kind() == MessageKind::kNone) return;
  const std::string& reply = canned_.at(static_cast<std::size_t>(request.kind()));
  sink.send_reply(reply);
  if (fault_ == Fault::kExtra && request.kind() == MessageKind::kResponseHeaders) sink.send_reply(reply);
}

void Answers::echo(const wire::RequestView& request, wire::Direction direction, ReplySink& sink) {
  std::string_view rest = request.body().body;
  std::string changed;
  if (fault_ == Fault::kEcho && !rest.empty()) {
    changed = rest;
    changed.back() ^= 1;
    rest = changed;
  }
  if (fault_ == Fault::kShort && request.end_of_stream() && !rest.empty()) rest.remove_suffix(1);
  do {
    wire::StreamedBody piece{.bytes = rest.substr(0, kPiece)};
    rest.remove_prefix(piece.bytes.size());
    piece.end_of_stream = rest.empty() && request.end_of_stream();
    sink.send_reply(writer_.streamed_body(direction, piece));
  } while (!rest.empty());
}

}  // namespace extprocd::bench
