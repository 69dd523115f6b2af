#include "core/transport/grpc/probe.h"

#include <chrono>

#include "grpc/health/v1/health.pb.h"
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include "core/config/address.h"

namespace extprocd::transport {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

absl::Status probe(const std::string& address) {
  auto parsed = config::parse_address(address);
  if (!parsed.ok()) return parsed.status();
  // "All interfaces" is no place to connect to, and it is served over IPv4 also where there is no IPv6.
  if (parsed->host == "::") parsed->host = "127.0.0.1";
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // whatever the environment says: the server is near
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  const auto channel =
      grpc::CreateCustomChannel(parsed->to_string(), grpc::InsecureChannelCredentials(), arguments);
  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(3));
  grpc::CompletionQueue queue;
  const HealthCheckRequest request;
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  HealthCheckResponse response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) {
    return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  }
  if (response.status() != HealthCheckResponse::SERVING) {
    return absl::UnavailableError("the server answers " +
                                  HealthCheckResponse::ServingStatus_Name(response.status()));
  }
  return absl::OkStatus();
}

}  // namespace extprocd::transport
