#include "test/conformance/peer.h"

#include <gtest/gtest.h>

namespace extprocd::test {

std::optional<std::string> InProcessPeer::read() {
  if (replies_.empty()) return std::nullopt;
  std::string reply = std::move(replies_.front());
  replies_.pop_front();
  return reply;
}

End InProcessPeer::finish(std::vector<std::string>& rest) {
  if (!end_) stream_->half_closed();
  rest.assign(replies_.begin(), replies_.end());
  return end_.value_or(End{absl::StatusCode::kUnknown, "the stream did not end"});
}

namespace {

/// As much as the server's own limit, for bodies in one message.
grpc::ChannelArguments any_size() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return arguments;
}

}  // namespace

GrpcPeer::GrpcPeer(const std::string& address)
    : stub_(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), any_size())),
      call_(stub_.PrepareCall(&context_, std::string(transport::Services::kProcess), &queue_)) {
  call_->StartCall(nullptr);
  next();
}

void GrpcPeer::send(const std::string& message) {
  const grpc::Slice slice(message);
  call_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  next();
}

std::optional<std::string> GrpcPeer::read() {
  grpc::ByteBuffer buffer;
  call_->Read(&buffer, nullptr);
  if (!next()) return std::nullopt;
  grpc::Slice slice;
  EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

End GrpcPeer::finish(std::vector<std::string>& rest) {
  call_->WritesDone(nullptr);
  next();
  while (auto reply = read()) rest.push_back(*reply);
  grpc::Status status;
  call_->Finish(&status, nullptr);
  next();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

End GrpcPeer::cancel() {
  context_.TryCancel();
  grpc::Status status;
  call_->Finish(&status, nullptr);
  next();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

bool GrpcPeer::next() {
  void* tag = nullptr;
  bool ok = false;
  queue_.Next(&tag, &ok);
  return ok;
}

ServedGeneration::ServedGeneration(const LoadedGeneration& loaded, config::Transport transport) {
  services_.add(std::string(transport::Services::kProcess),
                std::make_unique<engine::ProcessService>(loaded.generation()));
  config::Server config;
  config.listen = {"127.0.0.1:0"};
  config.threads = 1;
  config.transport = transport;
  auto server = server::start_transport(config, registry_, metrics_, services_);
  EXPECT_TRUE(server.ok()) << server.status();
  if (server.ok()) server_ = std::move(*server);
}

}  // namespace extprocd::test
