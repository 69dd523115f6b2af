#include "core/wire/view_oracle.h"

#include <algorithm>
#include <functional>
#include <sstream>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include "core/wire/encoder.h"

namespace extprocd::wire {

using envoy::config::core::v3::HeaderMap;
using envoy::config::core::v3::Metadata;
using envoy::service::ext_proc::v3::HttpBody;
using envoy::service::ext_proc::v3::ProcessingRequest;
using google::protobuf::DescriptorPool;
using google::protobuf::DynamicMessageFactory;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::Message;
using google::protobuf::Reflection;

/// The contract, but with attributes and metadata_context as plain bytes: what RequestView leaves to its
/// readers.
class ViewOracle::UnreadContract {
 public:
  UnreadContract() : pool_(DescriptorPool::generated_pool()) {
    FileDescriptorProto file;
    ProcessingRequest::descriptor()->file()->CopyTo(&file);
    file.set_name("unread.proto");
    file.set_package("unread");
    file.clear_service();
    for (auto& message : *file.mutable_message_type()) rewrite(message);
    const auto* built = pool_.BuildFile(file);
    prototype_ = factory_.GetPrototype(built->FindMessageTypeByName("ProcessingRequest"));
  }

  [[nodiscard]] std::unique_ptr<Message> make() const { return std::unique_ptr<Message>(prototype_->New()); }

  /// Drops what is left unread.
  static void drop_unread(Message& message) {
    const Reflection& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (is_unread(field->name())) {
        reflection.ClearField(&message, field);
      } else if (field->name().ends_with("_headers")) {
        drop_unread(*reflection.MutableMessage(&message, field));
      }
    }
  }

 private:
  static bool is_unread(const std::string& name) {
    return name == "attributes" || name == "metadata_context";
  }

  static void rewrite(google::protobuf::DescriptorProto& message) {
    static const std::string kPackage = ".envoy.service.ext_proc.v3.";
    for (auto& field : *message.mutable_field()) {
      if (is_unread(field.name())) {
        field.set_type(google::protobuf::FieldDescriptorProto::TYPE_BYTES);
        field.set_label(google::protobuf::FieldDescriptorProto::LABEL_REPEATED);
        field.clear_type_name();
      } else if (field.type_name().starts_with(kPackage)) {
        field.set_type_name(".unread." + field.type_name().substr(kPackage.size()));
      }
    }
    auto& nested_types = *message.mutable_nested_type();
    const auto entry =
        std::ranges::find(nested_types, "AttributesEntry", [](const auto& type) { return type.name(); });
    if (entry != nested_types.end()) nested_types.erase(entry);
    for (auto& nested : nested_types) rewrite(nested);
  }

  DescriptorPool pool_;
  DynamicMessageFactory factory_;
  const Message* prototype_;
};

namespace {

/// Compares one message, and notes what differs.
class Comparison {
 public:
  explicit Comparison(const RequestView& view) : view_(view) {}

  void contents(const ProcessingRequest& request) {
    switch (request.request_case()) {
      case ProcessingRequest::kRequestHeaders:
        return message(request, MessageKind::kRequestHeaders, request.request_headers().headers(), {},
                       request.request_headers().end_of_stream());
      case ProcessingRequest::kResponseHeaders:
        return message(request, MessageKind::kResponseHeaders, request.response_headers().headers(), {},
                       request.response_headers().end_of_stream());
      case ProcessingRequest::kRequestBody:
        return message(request, MessageKind::kRequestBody, {}, request.request_body(),
                       request.request_body().end_of_stream());
      case ProcessingRequest::kResponseBody:
        return message(request, MessageKind::kResponseBody, {}, request.response_body(),
                       request.response_body().end_of_stream());
      case ProcessingRequest::kRequestTrailers:
        return message(request, MessageKind::kRequestTrailers, request.request_trailers().trailers(), {},
                       false);
      case ProcessingRequest::kResponseTrailers:
        return message(request, MessageKind::kResponseTrailers, request.response_trailers().trailers(), {},
                       false);
      case ProcessingRequest::REQUEST_NOT_SET:
        return message(request, MessageKind::kNone, {}, {}, false);
    }
  }

  /// Attributes and metadata, put together again from what the view hands out unread.
  void unread(const ProcessingRequest& request) {
    Encoder encoder;
    const auto attributes = view_.attributes();
    for (auto entry = attributes.rbegin(); entry != attributes.rend(); ++entry) encoder.put_bytes(9, *entry);
    ProcessingRequest expected;
    *expected.mutable_attributes() = request.attributes();
    ProcessingRequest actual;
    same("attributes are readable", actual.ParseFromString(std::string(encoder.view())), true);
    actual.DiscardUnknownFields();
    expected.DiscardUnknownFields();
    // By their text: NaN equals nothing.
    same("attributes", actual.ShortDebugString(), expected.ShortDebugString());

    std::string merged;
    for (const std::string_view part : view_.metadata_context()) merged += part;
    Metadata metadata;
    same("metadata is readable", metadata.ParseFromString(merged), true);
    same("metadata", metadata.ShortDebugString(), request.metadata_context().ShortDebugString());
    same("has metadata", !view_.metadata_context().empty(), request.has_metadata_context());
  }

  std::string differences() const { return differences_.str(); }

 private:
  template <typename Actual, typename Expected>
  void same(std::string_view what, const Actual& actual, const Expected& expected) {
    if (!(actual == expected))
      differences_ << what << ": view " << actual << ", protobuf " << expected << "\n";
  }

  void message(const ProcessingRequest& request, MessageKind kind, const HeaderMap& headers,
               const HttpBody& body, bool end_of_stream) {
    same("kind", static_cast<int>(view_.kind()), static_cast<int>(kind));
    same("end_of_stream", view_.end_of_stream(), end_of_stream);
    const auto entries = view_.headers();
    same("headers", entries.size(), static_cast<std::size_t>(headers.headers_size()));
    for (int i = 0; i < headers.headers_size() && static_cast<std::size_t>(i) < entries.size(); ++i) {
      const auto& expected = headers.headers(i);
      const HeaderView& actual = entries[static_cast<std::size_t>(i)];
      same("header name", actual.name, expected.key());
      same("header value", actual.value,
           expected.raw_value().empty() ? expected.value() : expected.raw_value());
      same("header_bytes has the name", has(view_.header_bytes(), actual.name), true);
      same("header_bytes has the value", has(view_.header_bytes(), actual.value), true);
      const bool is_upper =
          std::any_of(actual.name.begin(), actual.name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
      same("upper case is seen", !is_upper || view_.has_upper_case_names(), true);
    }
    same("body", view_.body().body, body.body());
    same("body.end_of_stream", view_.body().end_of_stream, body.end_of_stream());
    same("body.end_of_stream_without_message", view_.body().end_of_stream_without_message,
         body.end_of_stream_without_message());
    same("body.grpc_message_compressed", view_.body().grpc_message_compressed,
         body.grpc_message_compressed());
    same("body.drain_complete", view_.body().drain_complete, body.drain_complete());
    same("observability_mode", view_.observability_mode(), request.observability_mode());
    configuration(request);
  }

  /// Is the text, if there is any, a part of these very bytes?
  static bool has(std::string_view bytes, std::string_view text) {
    const std::less_equal<> no_later;
    return text.empty() || (no_later(bytes.data(), text.data()) &&
                            no_later(text.data() + text.size(), bytes.data() + bytes.size()));
  }

  void configuration(const ProcessingRequest& request) {
    same("has protocol_config", view_.protocol_config().has_value(), request.has_protocol_config());
    if (const auto& config = view_.protocol_config()) {
      const auto& expected = request.protocol_config();
      mode(config->request_body_mode, config->request_body_mode_number, expected.request_body_mode());
      mode(config->response_body_mode, config->response_body_mode_number, expected.response_body_mode());
      same("send_body_without_waiting", config->send_body_without_waiting_for_header_response,
           expected.send_body_without_waiting_for_header_response());
    }
    same("has flow_control_init", view_.flow_control_init().has_value(), request.has_flow_control_init());
    if (const auto& init = view_.flow_control_init()) {
      const auto& expected = request.flow_control_init();
      same("window 1", init->downstream_to_sidestream, expected.initial_window_downstream_to_sidestream());
      same("window 2", init->sidestream_to_upstream, expected.initial_window_sidestream_to_upstream());
      same("window 3", init->upstream_to_sidestream, expected.initial_window_upstream_to_sidestream());
      same("window 4", init->sidestream_to_downstream, expected.initial_window_sidestream_to_downstream());
    }
    same("has client_window_update", view_.client_window_update().has_value(),
         request.has_client_window_update());
    if (const auto& update = view_.client_window_update()) {
      const auto& expected = request.client_window_update();
      same("increment 1", update->sidestream_to_upstream, expected.window_increment_sidestream_to_upstream());
      same("increment 2", update->sidestream_to_downstream,
           expected.window_increment_sidestream_to_downstream());
    }
  }

  void mode(BodyMode actual, int32_t number, int expected) {
    same("body mode number", number, expected);
    same("body mode", static_cast<int>(actual), expected >= 0 && expected <= 5 ? expected : 0);
  }

  const RequestView& view_;
  std::ostringstream differences_;
};

}  // namespace

ViewOracle::ViewOracle() : contract_(std::make_unique<UnreadContract>()) {}
ViewOracle::~ViewOracle() = default;

std::string ViewOracle::disagreement(std::string_view bytes) {
  const std::string text(bytes);
  const absl::Status status = view_.parse(bytes);
  const std::unique_ptr<Message> unread = contract_->make();
  if (const bool parsed = unread->ParseFromString(text); status.ok() != parsed) {
    return "view: " + status.ToString() + ", protobuf: " + (parsed ? "taken" : "refused");
  }
  ProcessingRequest request;
  const bool request_ok = request.ParseFromString(text);
  if (!status.ok()) {
    ++refused_;
    return request_ok ? "view refused what protobuf took" : "";
  }
  Comparison comparison(view_);
  if (request_ok) {
    comparison.unread(request);
  } else {
    UnreadContract::drop_unread(*unread);
    if (!request.ParseFromString(unread->SerializeAsString())) return "view took what protobuf refused";
  }
  comparison.contents(request);
  ++taken_;
  kinds_ |= 1U << static_cast<unsigned>(view_.kind());
  return comparison.differences();
}

}  // namespace extprocd::wire
