#include "core/transport/grpc/probe.h"

#include <chrono>
#include <memory>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "core/config/address.h"
#include "core/transport/pem.h"

namespace extprocd::transport {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

/// A certificate that nobody else has. gRPC wants some CA even where it is told to check nothing, and by default the
/// system's, of which a small image may have none.
std::string make_certificate() {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const CertificatePtr certificate(X509_new());
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> text(BIO_new(BIO_s_mem()), &BIO_free_all);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 60);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  PEM_write_bio_X509(text.get(), certificate.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const std::optional<ProbeTls>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  std::vector<grpc::experimental::IdentityKeyCertPair> own;
  if (!tls->certificate.empty()) {
    auto certificate = read_pem_file(tls->certificate);
    if (!certificate.ok()) return certificate.status();
    auto key = read_pem_file(tls->key);
    if (!key.ok()) return key.status();
    if (const auto parsed = parse_certificates(*certificate, tls->certificate); !parsed.ok())
      return parsed.status();
    if (const auto parsed = parse_key(*key, tls->key); !parsed.ok()) return parsed.status();
    own.push_back({*std::move(key), *std::move(certificate)});
  }
  // Only now: options that no credentials are made of are never freed.
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  if (!own.empty()) options.watch_identity_key_cert_pairs();
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(make_certificate(), own));
  options.watch_root_certs();
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
