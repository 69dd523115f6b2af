#include "core/transport/grpc/probe.h"

#include <chrono>
#include <memory>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "core/config/address.h"
#include "core/transport/pem.h"

namespace extprocd::transport {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const std::optional<ProbeTls>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  if (!tls->certificate.empty()) {
    auto certificate = read_pem_file(tls->certificate);
    if (!certificate.ok()) return certificate.status();
    auto key = read_pem_file(tls->key);
    if (!key.ok()) return key.status();
    if (const auto parsed = parse_certificates(*certificate, tls->certificate); !parsed.ok())
      return parsed.status();
    if (const auto parsed = parse_key(*key, tls->key); !parsed.ok()) return parsed.status();
    options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        std::vector<grpc::experimental::IdentityKeyCertPair>{{*std::move(key), *std::move(certificate)}}));
    options.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

absl::Status probe(const std::string& address, const std::optional<ProbeTls>& tls) {
  auto parsed = config::parse_address(address);
  if (!parsed.ok()) return parsed.status();
  // "All interfaces" is no place to connect to, and it is served over IPv4 also where there is no IPv6.
  if (parsed->host == "::") parsed->host = "127.0.0.1";
  const auto credentials = credentials_of(tls);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // whatever the environment says: the server is near
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  const auto channel = grpc::CreateCustomChannel(parsed->to_string(), *credentials, arguments);
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
