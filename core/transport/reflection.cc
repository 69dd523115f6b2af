#include "core/transport/reflection.h"

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

namespace extprocd::transport {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

constexpr const char* kServices[] = {"envoy.service.ext_proc.v3.ExternalProcessor", "grpc.health.v1.Health",
                                     "grpc.reflection.v1.ServerReflection",
                                     "grpc.reflection.v1alpha.ServerReflection"};

const DescriptorPool& pool() {
  // Naming a message of each file makes sure that the linker keeps its descriptor.
  envoy::service::ext_proc::v3::ProcessingRequest::descriptor();
  grpc::health::v1::HealthCheckRequest::descriptor();
  grpc::reflection::v1::ServerReflectionRequest::descriptor();
  grpc::reflection::v1alpha::ServerReflectionRequest::descriptor();
  return *DescriptorPool::generated_pool();
}

/// The file and all that it imports, each once.
template <typename Response>
void add_files(const FileDescriptor& file, std::set<const FileDescriptor*>& seen, Response& response) {
  if (!seen.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) add_files(*file.dependency(i), seen, response);
}

template <typename Response>
void answer_with(const FileDescriptor* file, const std::string& what, Response& response) {
  if (file == nullptr) {
    auto& error = *response.mutable_error_response();
    error.set_error_code(static_cast<int>(absl::StatusCode::kNotFound));
    error.set_error_message("no such " + what);
    return;
  }
  std::set<const FileDescriptor*> seen;
  add_files(*file, seen, *response.mutable_file_descriptor_response());
}

template <typename Request, typename Response>
void answer(const Request& request, Response& response) {
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const char* name : kServices)
        response.mutable_list_services_response()->add_service()->set_name(name);
      break;
    case Request::kFileByFilename:
      answer_with(pool().FindFileByName(request.file_by_filename()), "file", response);
      break;
    case Request::kFileContainingSymbol:
      answer_with(pool().FindFileContainingSymbol(request.file_containing_symbol()), "symbol", response);
      break;
    case Request::kFileContainingExtension: {
      const auto& wanted = request.file_containing_extension();
      const auto* type = pool().FindMessageTypeByName(wanted.containing_type());
      const auto* extension =
          type == nullptr ? nullptr : pool().FindExtensionByNumber(type, wanted.extension_number());
      answer_with(extension == nullptr ? nullptr : extension->file(), "extension", response);
      break;
    }
    case Request::kAllExtensionNumbersOfType: {
      const std::string& name = request.all_extension_numbers_of_type();
      const auto* type = pool().FindMessageTypeByName(name);
      if (type == nullptr) {
        answer_with(nullptr, "message type", response);
        break;
      }
      response.mutable_all_extension_numbers_response()->set_base_type_name(name);
      std::vector<const google::protobuf::FieldDescriptor*> extensions;
      pool().FindAllExtensions(type, &extensions);
      for (const auto* extension : extensions) {
        response.mutable_all_extension_numbers_response()->add_extension_number(extension->number());
      }
      break;
    }
    default:
      response.mutable_error_response()->set_error_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
      response.mutable_error_response()->set_error_message("a request without a question");
  }
}

template <typename Request, typename Response>
class ReflectionStream final : public engine::ServerStream {
 public:
  explicit ReflectionStream(engine::Sink& sink) : sink_(sink) {}

  void receive(engine::Message message) override {
    if (over_) return;
    Request request;
    if (!request.ParseFromArray(message.bytes().data(), static_cast<int>(message.bytes().size()))) {
      over_ = true;
      sink_.finish(absl::InvalidArgumentError("not a ServerReflectionRequest"));
      return;
    }
    Response response;
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    answer(request, response);
    sink_.send(response.SerializeAsString());
  }
  void half_closed() override {
    if (over_) return;
    over_ = true;
    sink_.finish(absl::OkStatus());
  }
  void cancelled(engine::Cancel) override { over_ = true; }

 private:
  engine::Sink& sink_;
  bool over_ = false;
};

template <typename Request, typename Response>
class ReflectionFactory final : public engine::StreamFactory {
 public:
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<ReflectionStream<Request, Response>>(sink);
  }
};

}  // namespace

void add_reflection_service(Services& services) {
  namespace v1 = grpc::reflection::v1;
  namespace v1alpha = grpc::reflection::v1alpha;
  services.add(
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      std::make_unique<ReflectionFactory<v1::ServerReflectionRequest, v1::ServerReflectionResponse>>());
  services.add("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
               std::make_unique<
                   ReflectionFactory<v1alpha::ServerReflectionRequest, v1alpha::ServerReflectionResponse>>());
}

}  // namespace extprocd::transport
