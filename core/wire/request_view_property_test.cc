// RequestView agrees with protobuf's own classes on any input: what is taken and refused, and what is seen in
// it.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "core/wire/encoder.h"
#include "core/wire/request_view.h"

namespace extprocd::wire {
namespace {

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
class UnreadContract {
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

class RequestViewProperty : public testing::Test {
 protected:
  /// Random numbers that are the same everywhere.
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  bool one_in(uint32_t n) { return below(n) == 0; }

  std::string random_bytes(uint32_t max_size) {
    std::string bytes(below(max_size + 1), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  std::string random_text() {
    static constexpr const char* kTexts[] = {
        "", "a", ":path", "x-header", "\xC3\xA9", "\xF0\x9F\x98\x80", "text-bin"};
    return kTexts[below(std::size(kTexts))];
  }
  uint64_t random_number() { return random_() >> below(64); }

  /// Fills in anything, by reflection.
  void fill(Message& message, int depth) {
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message.GetDescriptor()->field(i);
      if (depth == 0 || !one_in(2)) continue;
      for (uint32_t n = field->is_repeated() ? below(4) : 1; n > 0; --n)
        fill_field(message, reflection, *field, depth);
    }
  }

  void fill_field(Message& message, const Reflection& reflection, const FieldDescriptor& field, int depth) {
    const bool repeated = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        fill(repeated ? *reflection.AddMessage(&message, &field)
                      : *reflection.MutableMessage(&message, &field),
             depth - 1);
        return;
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string value =
            field.type() == FieldDescriptor::TYPE_BYTES ? random_bytes(20) : random_text();
        return repeated ? reflection.AddString(&message, &field, value)
                        : reflection.SetString(&message, &field, value);
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.SetBool(&message, &field, one_in(2));
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection.SetInt64(&message, &field, static_cast<int64_t>(random_number()));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.SetDouble(&message, &field, static_cast<double>(below(1000)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection.SetEnumValue(&message, &field, static_cast<int>(below(8)));
      default:
        FAIL() << field.full_name();
    }
  }

  std::string random_message() {
    ProcessingRequest request;
    fill(request, 7);
    return request.SerializeAsString();
  }

  /// A number in more bytes than it needs, at times in too many.
  std::string random_varint(uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
    for (uint32_t surplus = one_in(12) ? 1 + below(10) : 0; surplus > 0; --surplus) {
      bytes.back() = static_cast<char>(bytes.back() | '\x80');
      bytes += static_cast<char>(one_in(8) ? below(128) : 0);
    }
    return bytes;
  }

  /// Fields such as the contract's and others, with any wire type, nested: mostly well-formed.
  std::string random_wire(int depth) {
    std::string bytes;
    for (uint32_t fields = below(6); fields > 0; --fields) {
      const uint32_t number = one_in(40) ? 0 : one_in(10) ? below(1U << 29) : 1 + below(depth == 5 ? 14 : 5);
      const uint32_t type = one_in(40) ? below(8) : one_in(6) ? below(4) : one_in(4) ? 0 : 2;
      bytes += random_varint(uint64_t{number} << 3 | type);
      if (type == 0) {
        bytes += random_varint(one_in(2) ? below(8) : random_number());
      } else if (type == 1) {
        bytes += "12345678";
      } else if (type == 2) {
        const std::string contents =
            depth == 0 || one_in(8) ? (one_in(4) ? random_bytes(6) : random_text()) : random_wire(depth - 1);
        bytes += random_varint(contents.size() + (one_in(60) ? 1 : 0)) + contents;
      } else if (type == 3) {
        if (depth > 0) bytes += random_wire(depth - 1);
        bytes += random_varint(uint64_t{one_in(20) ? number + 1 : number} << 3 | 4);
      } else if (type == 5) {
        bytes += "1234";
      }
    }
    return bytes;
  }

  std::string mutated(std::string bytes) {
    for (uint32_t changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t at = below(static_cast<uint32_t>(bytes.size()) + 1);
      switch (below(6)) {
        case 0:
          bytes.resize(at);
          break;
        case 1:
          bytes.insert(at, 1, static_cast<char>(random_()));
          break;
        case 2:
          if (at < bytes.size()) bytes.erase(at, 1 + below(3));
          break;
        case 3:
          bytes.insert(at, bytes.substr(below(static_cast<uint32_t>(bytes.size()) + 1), below(30)));
          break;
        case 4:
          if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        default:
          if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
      }
    }
    return bytes;
  }

  /// The property.
  void check(const std::string& bytes) {
    const std::string in_hex = absl::BytesToHexString(bytes);
    const absl::Status status = view_.parse(bytes);
    const std::unique_ptr<Message> unread = contract_.make();
    ASSERT_EQ(status.ok(), unread->ParseFromString(bytes)) << status << "\n" << in_hex;

    ProcessingRequest request;
    const bool request_ok = request.ParseFromString(bytes);
    if (!status.ok()) {
      ASSERT_FALSE(request_ok) << in_hex;
      ++refused_;
      return;
    }
    if (request_ok) {
      expect_same_attributes(request);
    } else {
      UnreadContract::drop_unread(*unread);
      ASSERT_TRUE(request.ParseFromString(unread->SerializeAsString())) << in_hex;
    }
    expect_same(request);
    ASSERT_FALSE(HasFailure()) << in_hex;
    ++taken_;
    kinds_ |= 1U << static_cast<unsigned>(view_.kind());
  }

  void expect_same(const ProcessingRequest& request) {
    switch (request.request_case()) {
      case ProcessingRequest::kRequestHeaders:
        return expect_same(request, MessageKind::kRequestHeaders, request.request_headers().headers(), {},
                           request.request_headers().end_of_stream());
      case ProcessingRequest::kResponseHeaders:
        return expect_same(request, MessageKind::kResponseHeaders, request.response_headers().headers(), {},
                           request.response_headers().end_of_stream());
      case ProcessingRequest::kRequestBody:
        return expect_same(request, MessageKind::kRequestBody, {}, request.request_body(),
                           request.request_body().end_of_stream());
      case ProcessingRequest::kResponseBody:
        return expect_same(request, MessageKind::kResponseBody, {}, request.response_body(),
                           request.response_body().end_of_stream());
      case ProcessingRequest::kRequestTrailers:
        return expect_same(request, MessageKind::kRequestTrailers, request.request_trailers().trailers(), {},
                           false);
      case ProcessingRequest::kResponseTrailers:
        return expect_same(request, MessageKind::kResponseTrailers, request.response_trailers().trailers(),
                           {}, false);
      case ProcessingRequest::REQUEST_NOT_SET:
        return expect_same(request, MessageKind::kNone, {}, {}, false);
    }
  }

  void expect_same(const ProcessingRequest& request, MessageKind kind, const HeaderMap& headers,
                   const HttpBody& body, bool end_of_stream) {
    EXPECT_EQ(view_.kind(), kind);
    EXPECT_EQ(view_.end_of_stream(), end_of_stream);
    ASSERT_EQ(view_.headers().size(), static_cast<std::size_t>(headers.headers_size()));
    for (int i = 0; i < headers.headers_size(); ++i) {
      const auto& expected = headers.headers(i);
      const HeaderView& actual = view_.headers()[static_cast<std::size_t>(i)];
      EXPECT_EQ(actual.name, expected.key());
      EXPECT_EQ(actual.value, expected.raw_value().empty() ? expected.value() : expected.raw_value());
    }
    EXPECT_EQ(view_.body().body, body.body());
    EXPECT_EQ(view_.body().end_of_stream, body.end_of_stream());
    EXPECT_EQ(view_.body().end_of_stream_without_message, body.end_of_stream_without_message());
    EXPECT_EQ(view_.body().grpc_message_compressed, body.grpc_message_compressed());
    EXPECT_EQ(view_.body().drain_complete, body.drain_complete());
    EXPECT_EQ(view_.observability_mode(), request.observability_mode());
    expect_same_configuration(request);
  }

  void expect_same_configuration(const ProcessingRequest& request) {
    ASSERT_EQ(view_.protocol_config().has_value(), request.has_protocol_config());
    if (const auto& config = view_.protocol_config()) {
      const auto& expected = request.protocol_config();
      expect_same_mode(config->request_body_mode, config->request_body_mode_number,
                       expected.request_body_mode());
      expect_same_mode(config->response_body_mode, config->response_body_mode_number,
                       expected.response_body_mode());
      EXPECT_EQ(config->send_body_without_waiting_for_header_response,
                expected.send_body_without_waiting_for_header_response());
    }
    ASSERT_EQ(view_.flow_control_init().has_value(), request.has_flow_control_init());
    if (const auto& init = view_.flow_control_init()) {
      const auto& expected = request.flow_control_init();
      EXPECT_EQ(init->downstream_to_sidestream, expected.initial_window_downstream_to_sidestream());
      EXPECT_EQ(init->sidestream_to_upstream, expected.initial_window_sidestream_to_upstream());
      EXPECT_EQ(init->upstream_to_sidestream, expected.initial_window_upstream_to_sidestream());
      EXPECT_EQ(init->sidestream_to_downstream, expected.initial_window_sidestream_to_downstream());
    }
    ASSERT_EQ(view_.client_window_update().has_value(), request.has_client_window_update());
    if (const auto& update = view_.client_window_update()) {
      const auto& expected = request.client_window_update();
      EXPECT_EQ(update->sidestream_to_upstream, expected.window_increment_sidestream_to_upstream());
      EXPECT_EQ(update->sidestream_to_downstream, expected.window_increment_sidestream_to_downstream());
    }
  }

  static void expect_same_mode(BodyMode mode, int32_t number, int expected) {
    EXPECT_EQ(number, expected);
    EXPECT_EQ(static_cast<int>(mode), expected >= 0 && expected <= 5 ? expected : 0);
  }

  void expect_same_attributes(const ProcessingRequest& request) {
    Encoder encoder;
    const auto attributes = view_.attributes();
    for (auto entry = attributes.rbegin(); entry != attributes.rend(); ++entry) encoder.put_bytes(9, *entry);
    ProcessingRequest expected;
    *expected.mutable_attributes() = request.attributes();
    ProcessingRequest actual;
    ASSERT_TRUE(actual.ParseFromString(std::string(encoder.view())));
    actual.DiscardUnknownFields();
    expected.DiscardUnknownFields();
    // By their text: NaN equals nothing.
    EXPECT_EQ(actual.ShortDebugString(), expected.ShortDebugString());

    std::string merged;
    for (const std::string_view part : view_.metadata_context()) merged += part;
    Metadata metadata;
    ASSERT_TRUE(metadata.ParseFromString(merged));
    EXPECT_EQ(metadata.ShortDebugString(), request.metadata_context().ShortDebugString());
    EXPECT_EQ(!view_.metadata_context().empty(), request.has_metadata_context());
  }

  /// A property that holds for lack of cases proves nothing.
  void expect_cases(int taken, int refused) const {
    EXPECT_GE(taken_, taken);
    EXPECT_GE(refused_, refused);
    EXPECT_EQ(kinds_, 0x7FU) << "kinds that were seen";
  }

  std::mt19937_64 random_{20261124};
  const google::protobuf::LogSilencer silencer_;
  const UnreadContract contract_;
  RequestView view_;  // one for all cases: nothing may stay of an earlier one
  int taken_ = 0;
  int refused_ = 0;
  unsigned kinds_ = 0;
};

TEST_F(RequestViewProperty, WellFormedMessagesAreSeenAlike) {
  for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) check(random_message());
  expect_cases(3000, 0);
}

TEST_F(RequestViewProperty, MessagesPutTogetherAreMergedAlike) {
  for (int i = 0; i < 3000 && !HasFatalFailure(); ++i)
    check(random_message() + random_message() + random_message());
  expect_cases(3000, 0);
}

TEST_F(RequestViewProperty, DamagedMessagesAreJudgedAlike) {
  for (int i = 0; i < 12000 && !HasFatalFailure(); ++i) check(mutated(random_message()));
  expect_cases(1500, 3000);
}

TEST_F(RequestViewProperty, EveryTruncationIsJudgedAlike) {
  for (int i = 0; i < 40; ++i) {
    const std::string message = random_message();
    for (std::size_t size = 0; size < message.size() && !HasFatalFailure(); ++size)
      check(message.substr(0, size));
  }
  EXPECT_GE(refused_, 500);
}

TEST_F(RequestViewProperty, OddWireFormsAreReadAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(random_wire(5));
  expect_cases(4000, 2000);
}

TEST_F(RequestViewProperty, DamagedWireFormsAreReadAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(mutated(random_wire(5)));
  expect_cases(4000, 2000);
}

TEST_F(RequestViewProperty, NestingIsLimitedAlike) {
  for (const std::size_t submessages : {0, 1, 2, 3}) {  // request_headers, its HeaderMap, a HeaderValue
    for (std::size_t groups = 90; groups < 105; ++groups) {
      std::string message =
          std::string(groups, '\x7B') + std::string(groups, '\x7C');  // of the unknown field 15
      for (std::size_t i = 0; i < submessages; ++i) {
        Encoder outer;
        outer.put_bytes(i + 1 == submessages ? 2 : 1, message);
        message = outer.view();
      }
      check(message);
    }
  }
  EXPECT_GT(taken_, 20);
  EXPECT_GT(refused_, 10);
}

TEST_F(RequestViewProperty, RandomBytesAreJudgedAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(random_bytes(24));
  EXPECT_GE(taken_, 50);
  EXPECT_GE(refused_, 10000);
}

}  // namespace
}  // namespace extprocd::wire
