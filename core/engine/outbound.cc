#include "core/engine/outbound.h"

#include <algorithm>
#include <utility>

namespace extprocd::engine {
namespace {

uint32_t headers_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS;
}
uint32_t trailers_phase(wire::Direction direction) {
  return direction == wire::Direction::kRequest ? EXTPROC_REQUEST_TRAILERS : EXTPROC_RESPONSE_TRAILERS;
}

}  // namespace

void Outbound::begin(Scratch& scratch) {
  const wire::RequestView& first = scratch.view;
  observing_ = first.observability_mode();
  if (const auto& config = first.protocol_config()) {
    modes_ = {config->request_body_mode, config->response_body_mode};
  }
  if (const auto& windows = first.flow_control_init()) {
    flow_control_ = std::make_unique<FlowControl>();
    flow_control_->receive_window = {windows->downstream_to_sidestream, windows->upstream_to_sidestream};
    flow_control_->send_window = {windows->sidestream_to_upstream, windows->sidestream_to_downstream};
    send(scratch.writer.window_update({}));
  }
  const bool has_grpc_mode = modes_[0] == wire::BodyMode::kGrpc || modes_[1] == wire::BodyMode::kGrpc;
  grpc_data_plane_ = flow_control_ != nullptr || has_grpc_mode;
}

void Outbound::send(const wire::Pieces& encoded) {
  if (observing_) return;
  metrics_.sent_bytes.add(encoded.size());
  sink_.send(encoded);
}

Outbound::Metadata Outbound::take_metadata(Exchange& exchange) {
  if (exchange.dynamic_metadata.empty()) return {};
  Metadata metadata{exchange.dynamic_metadata.encode(), exchange.dynamic_metadata.encode_typed()};
  exchange.dynamic_metadata.clear();
  return metadata;
}

void Outbound::headers(wire::Direction direction, Exchange& exchange, Scratch& scratch) {
  exchange.map(headers_phase(direction))->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  wire::HeaderReply reply;
  reply.mutation = &scratch.mutation;
  reply.clear_route_cache = std::exchange(exchange.clear_route_cache, false);
  if (exchange.replacement_body) reply.replace_body = *exchange.replacement_body;
  const wire::Extras extras = metadata.extras();
  send(scratch.writer.headers(direction, reply, extras));
}

bool Outbound::body(wire::Direction direction, Exchange& exchange, std::size_t max_held, Scratch& scratch) {
  const Metadata metadata = take_metadata(exchange);
  const wire::Extras extras = metadata.extras();
  const auto mode = body_mode(direction);
  if (mode != wire::BodyMode::kFullDuplexStreamed && mode != wire::BodyMode::kGrpc) {
    // Also where the data plane did not say: only full duplex and gRPC bodies want a streamed_response.
    send(scratch.writer.body(direction, extras));
    return true;
  }
  const wire::BodyView& body = scratch.view.body();
  wire::StreamedBody echo;
  echo.bytes = body.body;
  echo.end_of_stream = body.end_of_stream;
  echo.end_of_stream_without_message = body.end_of_stream_without_message;
  echo.grpc_message_compressed = body.grpc_message_compressed;
  echo.drain_complete = body.drain_complete;
  return streamed_body(direction, echo, extras, max_held, scratch.writer);
}

bool Outbound::streamed_body(wire::Direction direction, const wire::StreamedBody& body,
                             const wire::Extras& extras, std::size_t max_held, wire::ReplyWriter& writer) {
  const auto rest =
      is_holding(direction) ? std::optional(body) : send_pieces(direction, body, extras, writer);
  if (!rest) return true;
  // A gRPC message must be taken whole, so what counts is what waited before it.
  if (flow_control_->held_size > max_held) return false;
  Held entry;
  entry.is_body = true;
  entry.bytes = rest->bytes;
  entry.flags = *rest;
  entry.flags.bytes = {};
  if (rest->bytes.size() == body.bytes.size()) {
    entry.metadata.dynamic = extras.dynamic_metadata;
    entry.metadata.typed = extras.typed_dynamic_metadata;
  }
  hold(direction, std::move(entry));
  return true;
}

void Outbound::hold(wire::Direction direction, Held entry) {
  flow_control_->held_size += entry.size();
  flow_control_->held[index(direction)].push_back(std::move(entry));
}

std::optional<wire::StreamedBody> Outbound::send_pieces(wire::Direction direction, wire::StreamedBody body,
                                                        wire::Extras extras, wire::ReplyWriter& writer) {
  const bool whole_messages = body_mode(direction) == wire::BodyMode::kGrpc;
  while (true) {
    std::size_t size = body.bytes.size();
    if (flow_control_ != nullptr && size > 0) {
      const int64_t window = flow_control_->send_window[index(direction)];
      // gRFC A93: a gRPC message may go out whole while the window is positive; of other bodies less than the
      // window.
      if (window <= (whole_messages ? 0 : 1)) return body;
      if (!whole_messages) size = std::min(size, static_cast<std::size_t>(window - 1));
    }
    if (!whole_messages) size = std::min(size, kMaxPiece);
    const bool last = size == body.bytes.size();
    wire::StreamedBody piece;
    if (last) {
      piece = body;
    } else {
      piece.bytes = body.bytes.substr(0, size);
    }
    if (flow_control_ != nullptr && size > 0) {
      const auto bytes = static_cast<int64_t>(size);
      flow_control_->send_window[index(direction)] -= bytes;
      flow_control_->receive_window[index(direction)] += bytes;
      extras.window_update.emplace();
      (direction == wire::Direction::kRequest ? extras.window_update->downstream_to_sidestream
                                              : extras.window_update->upstream_to_sidestream) = bytes;
    }
    send(writer.streamed_body(direction, piece, extras));
    if (last) return std::nullopt;
    extras = {};
    body.bytes.remove_prefix(size);
  }
}

void Outbound::flush(wire::Direction direction, wire::ReplyWriter& writer) {
  auto& held = flow_control_->held[index(direction)];
  while (!held.empty()) {
    Held& next = held.front();
    if (next.is_body) {
      const wire::Extras extras = next.metadata.extras();
      wire::StreamedBody body = next.flags;
      body.bytes = std::string_view(next.bytes).substr(next.sent);
      if (const auto rest = send_pieces(direction, body, extras, writer)) {
        next.sent = next.bytes.size() - rest->bytes.size();
        if (next.sent > 0) next.metadata = {};
        return;
      }
    } else {
      send(next.bytes);
    }
    flow_control_->held_size -= next.size();
    held.pop_front();
  }
}

void Outbound::trailers(wire::Direction direction, Exchange& exchange, Scratch& scratch) {
  exchange.map(trailers_phase(direction))->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  const wire::Extras extras = metadata.extras();
  const std::string_view encoded = scratch.writer.trailers(direction, &scratch.mutation, extras);
  if (!is_holding(direction)) {
    send(encoded);
    return;
  }
  Held entry;  // behind the body that waits for window
  entry.bytes = encoded;
  hold(direction, std::move(entry));
}

void Outbound::immediate(const LocalReply& local, Exchange& exchange, Scratch& scratch) {
  if (flow_control_ != nullptr) {
    flow_control_->held = {};
    flow_control_->held_size = 0;
  }
  exchange.map(EXTPROC_LOCAL_REPLY)->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  wire::ImmediateReply reply;
  reply.status = local.status;
  reply.mutation = &scratch.mutation;
  reply.body = local.body;
  reply.grpc_status = local.grpc_status;
  reply.details = local.details;
  const wire::Extras extras = metadata.extras();
  send(scratch.writer.immediate(reply, extras));
}

bool Outbound::take_from_receive_window(wire::Direction direction, std::size_t bytes) {
  if (flow_control_ == nullptr || bytes == 0) return true;
  int64_t& window = flow_control_->receive_window[index(direction)];
  if (window <= 0) return false;
  window -= static_cast<int64_t>(bytes);
  return true;
}

bool Outbound::add_to_send_windows(const wire::ClientWindowUpdate& update, Scratch& scratch) {
  if (flow_control_ == nullptr) return true;
  auto& windows = flow_control_->send_window;
  if (__builtin_add_overflow(windows[0], update.sidestream_to_upstream, &windows[0]) ||
      __builtin_add_overflow(windows[1], update.sidestream_to_downstream, &windows[1])) {
    return false;
  }
  flush(wire::Direction::kRequest, scratch.writer);
  flush(wire::Direction::kResponse, scratch.writer);
  return true;
}

}  // namespace extprocd::engine
