#include "core/wire/request_view.h"

#include "absl/strings/str_cat.h"

#include "core/wire/decoder.h"

namespace extprocd::wire {

/// One function a message type. Submessages that come twice are merged, and a member of the oneof clears
/// another that came before, as protobuf has it.
class RequestView::Parser {
 public:
  explicit Parser(RequestView& view) : view_(view) {}

  bool request(Decoder& in) {
    return in.read_fields([this](Decoder& field) {
      switch (field.tag()) {
        case bytes_tag(2):
          return http_headers(field, MessageKind::kRequestHeaders);
        case bytes_tag(3):
          return http_headers(field, MessageKind::kResponseHeaders);
        case bytes_tag(4):
          return http_body(field, MessageKind::kRequestBody);
        case bytes_tag(5):
          return http_body(field, MessageKind::kResponseBody);
        case bytes_tag(6):
          return http_trailers(field, MessageKind::kRequestTrailers);
        case bytes_tag(7):
          return http_trailers(field, MessageKind::kResponseTrailers);
        case bytes_tag(8):
          return entry(field, view_.metadata_context_);
        case bytes_tag(9):
          return entry(field, view_.attributes_);
        case varint_tag(10):
          return field.read(view_.observability_mode_);
        case bytes_tag(11):
          return protocol_config(field);
        case bytes_tag(12):
          return flow_control_init(field);
        case bytes_tag(13):
          return client_window_update(field);
        default:
          return field.skip();
      }
    });
  }

 private:
  void select(MessageKind kind) {
    if (view_.kind_ == kind) return;
    view_.kind_ = kind;
    view_.headers_.clear();
    view_.header_count_ = 0;
    view_.header_bytes_ = {};
    view_.has_upper_case_names_ = false;
    view_.headers_end_of_stream_ = false;
    view_.body_ = {};
  }

  bool entry(Decoder& in, std::vector<std::string_view>& entries) {
    std::string_view bytes;
    const bool ok = in.read(bytes);
    ++view_.attribute_count_;
    if (entries.size() < view_.max_entries_) entries.push_back(bytes);
    return ok;
  }

  bool http_headers(Decoder& in, MessageKind kind) {
    select(kind);
    return in.read_message([this](Decoder& field) {
      switch (field.tag()) {
        case bytes_tag(1):
          return header_map(field);
        case varint_tag(3):
          return field.read(view_.headers_end_of_stream_);
        default:
          return field.skip();
      }
    });
  }

  bool http_trailers(Decoder& in, MessageKind kind) {
    select(kind);
    return in.read_message(
        [this](Decoder& field) { return field.tag() == bytes_tag(1) ? header_map(field) : field.skip(); });
  }

  bool http_body(Decoder& in, MessageKind kind) {
    select(kind);
    return in.read_message([&body = view_.body_](Decoder& field) {
      switch (field.tag()) {
        case bytes_tag(1):
          return field.read(body.body);
        case varint_tag(2):
          return field.read(body.end_of_stream);
        case varint_tag(3):
          return field.read(body.end_of_stream_without_message);
        case varint_tag(4):
          return field.read(body.grpc_message_compressed);
        case varint_tag(5):
          return field.read(body.drain_complete);
        default:
          return field.skip();
      }
    });
  }

  bool header_map(Decoder& in) {
    std::string_view bytes;
    const bool ok = in.read_message(bytes, [this](Decoder& field) {
      return field.tag() == bytes_tag(1) ? header_value(field) : field.skip();
    });
    // Where there are several, they come one behind the other, with other fields between them.
    const char* const begin =
        view_.header_bytes_.data() == nullptr ? bytes.data() : view_.header_bytes_.data();
    if (ok) view_.header_bytes_ = {begin, static_cast<std::size_t>(bytes.data() + bytes.size() - begin)};
    return ok;
  }

  bool header_value(Decoder& in) {
    std::string_view name;
    std::string_view value;
    std::string_view raw_value;
    const bool ok = in.read_message([&](Decoder& field) {
      switch (field.tag()) {
        case bytes_tag(1):
          return field.read_name(name, view_.has_upper_case_names_);
        case bytes_tag(2):
          return field.read_utf8(value, "the value of a header that is not UTF-8");
        case bytes_tag(3):
          return field.read(raw_value);
        default:
          return field.skip();
      }
    });
    ++view_.header_count_;
    if (view_.headers_.size() < view_.max_entries_)
      view_.headers_.push_back({name, raw_value.empty() ? value : raw_value});
    return ok;
  }

  bool protocol_config(Decoder& in) {
    ProtocolConfig& config = present(view_.protocol_config_);
    const bool ok = in.read_message([&config](Decoder& field) {
      switch (field.tag()) {
        case varint_tag(1):
          return field.read(config.request_body_mode_number);
        case varint_tag(2):
          return field.read(config.response_body_mode_number);
        case varint_tag(3):
          return field.read(config.send_body_without_waiting_for_header_response);
        default:
          return field.skip();
      }
    });
    config.request_body_mode = body_mode(config.request_body_mode_number);
    config.response_body_mode = body_mode(config.response_body_mode_number);
    return ok;
  }

  bool flow_control_init(Decoder& in) {
    return in.read_message([&init = present(view_.flow_control_init_)](Decoder& field) {
      switch (field.tag()) {
        case varint_tag(1):
          return field.read(init.downstream_to_sidestream);
        case varint_tag(2):
          return field.read(init.sidestream_to_upstream);
        case varint_tag(3):
          return field.read(init.upstream_to_sidestream);
        case varint_tag(4):
          return field.read(init.sidestream_to_downstream);
        default:
          return field.skip();
      }
    });
  }

  bool client_window_update(Decoder& in) {
    return in.read_message([&update = present(view_.client_window_update_)](Decoder& field) {
      switch (field.tag()) {
        case varint_tag(1):
          return field.read(update.sidestream_to_upstream);
        case varint_tag(2):
          return field.read(update.sidestream_to_downstream);
        default:
          return field.skip();
      }
    });
  }

  /// The submessage, which may have come before: then the two are merged.
  template <typename Message>
  static Message& present(std::optional<Message>& message) {
    return message ? *message : message.emplace();
  }

  static BodyMode body_mode(int32_t number) {
    const bool known = number >= 0 && number <= static_cast<int32_t>(BodyMode::kGrpc);
    return known ? static_cast<BodyMode>(number) : BodyMode::kNone;
  }

  RequestView& view_;
};

absl::Status RequestView::parse(std::string_view bytes, std::size_t max_entries) {
  max_entries_ = max_entries;
  header_count_ = 0;
  header_bytes_ = {};
  has_upper_case_names_ = false;
  attribute_count_ = 0;
  kind_ = MessageKind::kNone;
  observability_mode_ = false;
  headers_end_of_stream_ = false;
  headers_.clear();
  body_ = {};
  protocol_config_.reset();
  flow_control_init_.reset();
  client_window_update_.reset();
  attributes_.clear();
  metadata_context_.clear();

  Decoder::Error error;
  Decoder in(bytes, error);
  if (Parser(*this).request(in)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("ProcessingRequest: ", error.what, " at byte ", error.offset));
}

}  // namespace extprocd::wire
