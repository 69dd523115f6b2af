// The messages that a direction sends as the parts of its HTTP message arrive.

#include <algorithm>
#include <utility>

#include "test/model/direction_model.h"

namespace extprocd::model {

DirectionModel::DirectionModel(Side side, const FilterSettings& filter, HttpMessage message, Send send)
    : side_(side),
      filter_(filter),
      incoming_(std::move(message)),
      send_(std::move(send)),
      mode_(filter.side(side)) {
  if (!filter.windows) return;
  const bool request = side == Side::kRequest;
  send_window_ = request ? filter.windows->downstream_to_sidestream : filter.windows->upstream_to_sidestream;
  reply_window_ = request ? filter.windows->sidestream_to_upstream : filter.windows->sidestream_to_downstream;
}

bool DirectionModel::can_arrive() const {
  if (abandoned_) return false;
  if (!headers_arrived_) return true;
  if (next_chunk_ < incoming_.chunks.size()) {
    const bool limited = filter_.windows && duplex() && !bypass_ && !replaced_;
    if (!limited || incoming_.chunks[next_chunk_].empty()) return true;
    // A gRPC message goes out whole while the window is positive; of other bodies less than the window.
    return send_window_ > (mode_.body == ProcessingMode::GRPC ? 0 : 1);
  }
  return incoming_.trailers && !trailers_arrived_;
}

void DirectionModel::arrive() {
  if (!headers_arrived_) return headers_arrive();
  if (next_chunk_ == incoming_.chunks.size()) return trailers_arrive();
  const std::string& chunk = incoming_.chunks[next_chunk_];
  std::size_t size = chunk.size() - next_byte_;
  if (filter_.windows && mode_.body == ProcessingMode::FULL_DUPLEX_STREAMED && !bypass_ && !replaced_) {
    size = std::min(size, static_cast<std::size_t>(std::max<std::int64_t>(send_window_ - 1, 0)));
  }
  std::string data = chunk.substr(next_byte_, size);
  next_byte_ += size;
  if (next_byte_ == chunk.size()) {
    ++next_chunk_;
    next_byte_ = 0;
  }
  data_arrives(std::move(data), next_chunk_ == incoming_.chunks.size() && !incoming_.trailers);
}

void DirectionModel::headers_arrive() {
  headers_arrived_ = true;
  headers_ = incoming_.headers;
  no_body_ = incoming_.chunks.empty() && !incoming_.trailers;
  complete_ = no_body_;
  if (!mode_.send_headers || bypass_) {
    pass_headers();
    if (no_body_) pass_end();
    return;
  }
  send_headers(no_body_);
  if (filter_.observability_mode) {
    pass_headers();
    if (no_body_) pass_end();
    return;
  }
  state_ = State::kHeaders;
}

void DirectionModel::data_arrives(std::string data, bool end) {
  complete_ = complete_ || end;
  if (local_reply_) {
    if (duplex()) send_body(data, end);
    return;
  }
  if (replaced_) {
    if (end) pass_end();
    return;
  }
  if (bypass_ || filter_.observability_mode) return show(data, end);
  const bool waiting_for_headers = state_ == State::kHeaders;
  switch (mode_.body) {
    case ProcessingMode::FULL_DUPLEX_STREAMED:
    case ProcessingMode::GRPC:
      if (ended_by_server_) return;
      send_body(data, end);
      body_sent_ = true;
      if (!waiting_for_headers) state_ = State::kStreamedBody;
      return;
    case ProcessingMode::STREAMED:
      if (!waiting_for_headers ||
          (filter_.send_body_without_waiting_for_header_response && side_ == Side::kRequest)) {
        send_body(data, end);
        chunks_.push_back(std::move(data));
        if (!waiting_for_headers) state_ = State::kStreamedBody;
        return;
      }
      break;
    case ProcessingMode::BUFFERED_PARTIAL:
      if (partial_done_) break;
      if (state_ == State::kBufferedPartialBody) {
        rest_ += data;
        return;
      }
      break;
    default:
      break;
  }
  if ((mode_.body == ProcessingMode::NONE || partial_done_) && !waiting_for_headers) {
    pass_body(data);
    if (end) pass_end();
    return;
  }
  buffered_ = buffered_.value_or("") + data;
  if (waiting_for_headers || mode_.body == ProcessingMode::NONE) return;
  if (mode_.body == ProcessingMode::BUFFERED) {
    if (end) send_buffered(State::kBufferedBody, true);
  } else if (end || buffered_->size() > filter_.buffer_limit) {
    send_buffered(State::kBufferedPartialBody, end);
  }
}

void DirectionModel::trailers_arrive() {
  trailers_arrived_ = true;
  complete_ = true;
  trailers_ = *incoming_.trailers;
  if (local_reply_) {
    if (duplex() && mode_.send_trailers) send_trailers();
    return;
  }
  if (replaced_ || bypass_) return pass_trailers();
  if (filter_.observability_mode) return show_trailers();
  if (duplex()) {
    if (mode_.send_trailers) {
      send_trailers();
    } else if (state_ == State::kIdle) {
      pass_trailers();
    }
    return;
  }
  if (state_ != State::kIdle) return;  // held until the replies are in
  if (buffered_ && !partial_done_) {
    const bool partial = mode_.body == ProcessingMode::BUFFERED_PARTIAL;
    return send_buffered(partial ? State::kBufferedPartialBody : State::kBufferedBody, false);
  }
  go_on_after_body();
}

/// A piece that is passed on at once, and in observability mode shown to the server.
void DirectionModel::show(const std::string& data, bool end) {
  if (!bypass_ && mode_.body == ProcessingMode::STREAMED) send_body(data, end);
  pass_body(data);
  if (mode_.body == ProcessingMode::GRPC && !(end && data.empty())) passed_.grpc_messages.push_back(data);
  if (end) pass_end();
}

void DirectionModel::show_trailers() {
  if (mode_.send_trailers) send_trailers();
  pass_trailers();
}

void DirectionModel::fill(envoy::config::core::v3::HeaderMap& map, const Headers& headers) const {
  for (const auto& [name, value] : headers) {
    if (filter_.withheld.contains(name)) continue;
    auto& header = *map.add_headers();
    header.set_key(name);
    if (filter_.grpc_data_plane && !name.ends_with("-bin")) {
      header.set_value(value);
    } else {
      header.set_raw_value(value);
    }
  }
}

void DirectionModel::send_headers(bool end) {
  ProcessingRequest message;
  auto& headers =
      side_ == Side::kRequest ? *message.mutable_request_headers() : *message.mutable_response_headers();
  fill(*headers.mutable_headers(), headers_);
  headers.set_end_of_stream(end);
  send_(std::move(message));
}

void DirectionModel::send_body(std::string_view data, bool end) {
  ProcessingRequest message;
  auto& body = side_ == Side::kRequest ? *message.mutable_request_body() : *message.mutable_response_body();
  body.set_body(std::string(data));
  body.set_end_of_stream(end);
  if (mode_.body == ProcessingMode::GRPC && end && data.empty()) body.set_end_of_stream_without_message(true);
  if (filter_.windows) send_window_ -= static_cast<std::int64_t>(data.size());
  send_(std::move(message));
}

void DirectionModel::send_buffered(State state, bool end) {
  state_ = state;
  send_body(*buffered_, end);
}

void DirectionModel::send_trailers() {
  ProcessingRequest message;
  auto& trailers =
      side_ == Side::kRequest ? *message.mutable_request_trailers() : *message.mutable_response_trailers();
  fill(*trailers.mutable_trailers(), trailers_);
  trailers_sent_ = true;
  send_(std::move(message));
}

}  // namespace extprocd::model
