#include "core/engine/outbound.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/engine/phases.h"

namespace extprocd::engine {
namespace {

constexpr std::string_view kContentLength = "content-length";

void forget_header(http::HeaderMutation& mutation, std::string_view name) {
  std::erase_if(mutation.set, [&](const http::SetHeader& header) { return header.name == name; });
  std::erase(mutation.remove, name);
}

void remove_header(http::HeaderMutation& mutation, std::string_view name) {
  forget_header(mutation, name);
  mutation.remove.push_back(name);
}

/// `size` outlives the mutation. Where the headers show no content-length there may be one all the same, withheld.
void set_content_length(http::HeaderMutation& mutation, const http::HeaderMap& headers,
                        std::string_view size) {
  if (!headers.first(kContentLength)) return remove_header(mutation, kContentLength);
  forget_header(mutation, kContentLength);
  mutation.set.push_back({kContentLength, size, false});
}

wire::ServerWindowUpdate update_of(wire::Direction direction, int64_t bytes) {
  wire::ServerWindowUpdate update;
  (direction == wire::Direction::kRequest ? update.downstream_to_sidestream : update.upstream_to_sidestream) =
      bytes;
  return update;
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
    // grpc-go takes nothing before the reply to request headers, so there it comes with that.
    owes_window_update_ = first.kind() == wire::MessageKind::kRequestHeaders;
    if (!owes_window_update_) send(scratch.writer.window_update({}));
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

/// What goes with a body's reply. While the headers wait it waits for their reply, which goes out first: of two values of
/// one key the data plane keeps the one that came last.
Outbound::Metadata Outbound::metadata_for(wire::Direction direction, Exchange& exchange) {
  return headers_held(direction) ? Metadata() : take_metadata(exchange);
}

wire::Extras Outbound::extras_with(const Metadata& metadata) {
  wire::Extras extras = metadata.extras();
  if (std::exchange(owes_window_update_, false)) extras.window_update.emplace();
  return extras;
}

void Outbound::headers(wire::Direction direction, Exchange& exchange, const HeaderAnswer& answer,
                       Scratch& scratch) {
  http::HeaderMap& map = *exchange.map(headers_phase(direction));
  map.net(scratch.mutation);
  // In a mode that is not told, Envoy may compare it with the body although it withholds it here.
  const bool may_have_length = map.first(kContentLength).has_value() || !body_mode(direction);
  if (answer.body_may_change && may_have_length) remove_header(scratch.mutation, kContentLength);
  const Metadata metadata = take_metadata(exchange);
  wire::HeaderReply reply;
  reply.mutation = &scratch.mutation;
  if (direction == wire::Direction::kRequest) {
    reply.clear_route_cache = std::exchange(exchange.clear_route_cache, false);
  }
  if (exchange.replacement_body) reply.replace_body = *exchange.replacement_body;
  wire::Extras extras = extras_with(metadata);
  extras.mode_override = answer.mode_override;
  extras.request_drain = answer.request_drain;
  if (extras.mode_override) metrics_.mode_overrides.add();
  send(scratch.writer.headers(direction, reply, extras));
  map.mark_sent();
  if (!headers_held(direction)) return;
  waiting_->headers[index(direction)] = false;
  flush(direction, scratch.writer);
}

void Outbound::hold_headers(wire::Direction direction, Scratch& scratch) {
  waiting().headers[index(direction)] = true;
  if (std::exchange(owes_window_update_, false)) send(scratch.writer.window_update({}));
}

bool Outbound::body(wire::Direction direction, Exchange& exchange, std::size_t max_held, Scratch& scratch) {
  const Metadata metadata = metadata_for(direction, exchange);
  const wire::Extras extras = extras_with(metadata);
  const auto mode = body_mode(direction);
  if (!mode || !wire::is_duplex(*mode)) {
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
  const bool fits = streamed_body(direction, echo, extras, max_held, scratch.writer);
  settle(direction, scratch.writer);
  return fits;
}

bool Outbound::body(wire::Direction direction, Exchange& exchange, const BodyAnswer& answer,
                    std::size_t max_held, Scratch& scratch) {
  const auto mode = body_mode(direction);
  if (mode && wire::is_duplex(*mode)) {
    if (!answer.touched && answer.answers_message) return body(direction, exchange, max_held, scratch);
    return duplex_body(direction, exchange, answer, max_held, scratch);
  }
  if (!answer.answers_message) return true;  // there are no bytes then
  wire::BodyReply reply;
  scratch.mutation.clear();
  http::HeaderMap& map = *exchange.map(headers_phase(direction));
  if (exchange.headers_held[index(direction)]) {
    map.net(scratch.mutation);
    map.mark_sent();
    reply.clear_route_cache = std::exchange(exchange.clear_route_cache, false);
  }
  std::string new_size;
  if (answer.touched) {
    reply.replace = answer.bytes->joined();
    // Envoy compares them in BUFFERED, if it still has the headers; elsewhere content-length went with them.
    if (mode == wire::BodyMode::kBuffered && exchange.headers_held[index(direction)]) {
      new_size = std::to_string(reply.replace->size());
      set_content_length(scratch.mutation, map, new_size);
    }
  }
  reply.mutation = &scratch.mutation;
  const Metadata metadata = metadata_for(direction, exchange);
  send(scratch.writer.body(direction, reply, extras_with(metadata)));
  return true;
}

/// Sends what goes on of a body in as many pieces as it takes, of which the last one is the end if the message was.
bool Outbound::duplex_body(wire::Direction direction, Exchange& exchange, const BodyAnswer& answer,
                           std::size_t max_held, Scratch& scratch) {
  wire::StreamedBody end;
  if (answer.answers_message) {
    const wire::BodyView& body = scratch.view.body();
    end.end_of_stream = body.end_of_stream;
    end.end_of_stream_without_message = body.end_of_stream_without_message;
    end.drain_complete = body.drain_complete;
  }
  const bool ends = end.end_of_stream || end.drain_complete;
  const bool of_messages = answer.bytes->of_messages();
  if (!of_messages) static_cast<void>(answer.bytes->joined());
  const auto slices = answer.bytes->slices();
  bool fits = true;
  const auto send_one = [&](const wire::StreamedBody& piece) {
    const Metadata metadata = metadata_for(direction, exchange);
    fits = fits && streamed_body(direction, piece, extras_with(metadata), max_held, scratch.writer);
  };
  // An end without a message stands alone behind the messages.
  const bool end_stands_alone =
      ends && (slices.empty() || (of_messages && end.end_of_stream_without_message));
  for (std::size_t i = 0; i < slices.size(); ++i) {
    wire::StreamedBody piece = i + 1 == slices.size() && !end_stands_alone ? end : wire::StreamedBody();
    piece.bytes = {slices[i].data, slices[i].size};
    piece.grpc_message_compressed = answer.bytes->compressed(i);
    send_one(piece);
  }
  if (end_stands_alone) {
    end.end_of_stream_without_message = of_messages && end.end_of_stream;
    send_one(end);
  }
  settle(direction, scratch.writer);
  return fits;
}

bool Outbound::streamed_body(wire::Direction direction, const wire::StreamedBody& body,
                             const wire::Extras& extras, std::size_t max_held, wire::ReplyWriter& writer) {
  const auto rest =
      is_holding(direction) ? std::optional(body) : send_pieces(direction, body, extras, writer);
  if (!rest) return true;
  // A gRPC message must be taken whole, so what counts is what waited before it.
  if (is_over(max_held)) return false;
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

Outbound::Waiting& Outbound::waiting() {
  if (waiting_ == nullptr) waiting_ = std::make_unique<Waiting>();
  return *waiting_;
}

void Outbound::hold(wire::Direction direction, Held entry) {
  waiting().size += entry.size();
  waiting().held[index(direction)].push_back(std::move(entry));
}

/// Takes up to `most` of the bytes for which window is to be given back.
int64_t Outbound::give_back(wire::Direction direction, int64_t most) {
  int64_t& unreturned = flow_control_->unreturned[index(direction)];
  const int64_t bytes = std::min(most, unreturned);
  unreturned -= bytes;
  flow_control_->receive_window[index(direction)] += bytes;
  return bytes;
}

/// What came and does not wait for the data plane has been taken: by plugins, which have limits of their own.
void Outbound::settle(wire::Direction direction, wire::ReplyWriter& writer) {
  if (flow_control_ == nullptr || flow_control_->unreturned[index(direction)] == 0) return;
  if (is_holding(direction) && !headers_held(direction)) return;
  send(writer.window_update(
      update_of(direction, give_back(direction, flow_control_->unreturned[index(direction)]))));
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
      if (const int64_t back = give_back(direction, bytes); back > 0) {
        extras.window_update = update_of(direction, back);
      }
    }
    send(writer.streamed_body(direction, piece, extras));
    if (last) return std::nullopt;
    extras = {};
    body.bytes.remove_prefix(size);
  }
}

void Outbound::flush(wire::Direction direction, wire::ReplyWriter& writer) {
  if (waiting_ == nullptr || waiting_->headers[index(direction)]) return;
  auto& held = waiting_->held[index(direction)];
  while (!held.empty()) {
    Held& next = held.front();
    if (next.is_body) {
      wire::Extras extras = next.metadata.extras();
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
    waiting_->size -= next.size();
    held.pop_front();
  }
  settle(direction, writer);
}

void Outbound::trailers(wire::Direction direction, Exchange& exchange, Scratch& scratch) {
  exchange.map(trailers_phase(direction))->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  const wire::Extras extras = extras_with(metadata);
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
  waiting_.reset();
  exchange.map(EXTPROC_LOCAL_REPLY)->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  wire::ImmediateReply reply;
  reply.status = local.status;
  reply.mutation = &scratch.mutation;
  reply.body = local.body;
  reply.grpc_status = local.grpc_status;
  reply.details = local.details;
  wire::Extras extras = metadata.extras();
  if (std::exchange(owes_window_update_, false)) extras.window_update.emplace();
  send(scratch.writer.immediate(reply, extras));
}

void Outbound::begin_in_pieces(const LocalReply& local, Exchange& exchange, Scratch& scratch) {
  exchange.map(EXTPROC_LOCAL_REPLY)->net(scratch.mutation);
  const Metadata metadata = take_metadata(exchange);
  wire::ImmediateReply reply;
  reply.status = local.status;
  reply.mutation = &scratch.mutation;
  const bool is_all = local.complete && local.body.empty() && local.trailers.empty();
  send(scratch.writer.streamed_immediate_headers(reply, is_all, metadata.extras()));
  if (!is_all) one_more_piece(local, scratch);
}

void Outbound::one_more_piece(const LocalReply& piece, Scratch& scratch) {
  const bool with_trailers = !piece.trailers.empty();
  std::string_view bytes = piece.body;
  bool ended = false;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kMaxPiece);
    bytes.remove_prefix(part.size());
    ended = piece.complete && bytes.empty() && !with_trailers;
    send(scratch.writer.streamed_immediate_body(part, ended));
  }
  if (!piece.complete || ended) return;
  if (!with_trailers) {
    send(scratch.writer.streamed_immediate_body({}, true));
    return;
  }
  scratch.mutation.clear();
  for (const auto& [name, value] : piece.trailers) scratch.mutation.set.push_back({name, value, false});
  send(scratch.writer.streamed_immediate_trailers(scratch.mutation.set));
}

bool Outbound::take_from_receive_window(wire::Direction direction, std::size_t bytes) {
  if (flow_control_ == nullptr || bytes == 0) return true;
  int64_t& window = flow_control_->receive_window[index(direction)];
  if (window <= 0) return false;
  window -= static_cast<int64_t>(bytes);
  flow_control_->unreturned[index(direction)] += static_cast<int64_t>(bytes);
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

void Outbound::send_held(Scratch& scratch) {
  if (flow_control_ == nullptr) return;
  flow_control_->send_window.fill(std::numeric_limits<int64_t>::max());
  flush(wire::Direction::kRequest, scratch.writer);
  flush(wire::Direction::kResponse, scratch.writer);
}

}  // namespace extprocd::engine
