#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "core/engine/process_service.h"
#include "core/server/transport.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/services.h"
#include "test/support/loaded_generation.h"

namespace extprocd::test {

struct End {
  absl::StatusCode code;
  std::string message;
};

/// A conversation with the server under test.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void send(const std::string& message) = 0;
  /// The next reply; nothing if the stream has ended instead.
  virtual std::optional<std::string> read() = 0;
  /// Sends no more, and reads to the end; what comes before it goes to `rest`.
  virtual End finish(std::vector<std::string>& rest) = 0;
  /// Whether replies that should not be there can be seen before the end.
  [[nodiscard]] virtual bool sees_all_at_once() const = 0;
};

class InProcessPeer final : public Peer, private engine::Sink {
 public:
  explicit InProcessPeer(engine::ProcessService& service)
      : stream_(service.open(*this, {.peer = "in process"})) {}

  void send(const std::string& message) override { stream_->receive(engine::Message::copy(message)); }
  std::optional<std::string> read() override;
  End finish(std::vector<std::string>& rest) override;
  [[nodiscard]] bool sees_all_at_once() const override { return true; }

 private:
  void send(const wire::Pieces& message) override { replies_.push_back(message.joined()); }
  void finish(const absl::Status& status) override {
    end_ = End{status.code(), std::string(status.message())};
  }

  std::unique_ptr<engine::ServerStream> stream_;
  std::deque<std::string> replies_;
  std::optional<End> end_;
};

class GrpcPeer final : public Peer {
 public:
  explicit GrpcPeer(const std::string& address);

  void send(const std::string& message) override;
  std::optional<std::string> read() override;
  End finish(std::vector<std::string>& rest) override;
  [[nodiscard]] bool sees_all_at_once() const override { return false; }
  /// Resets the stream; its end, as this side sees it.
  End cancel();

 private:
  bool next();

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

/// A generation behind a transport on a port of its own.
class ServedGeneration {
 public:
  ServedGeneration(const LoadedGeneration& loaded, config::Transport transport);
  [[nodiscard]] std::string address() const { return server_->addresses().at(0); }

 private:
  telemetry::Registry registry_{2};
  const telemetry::Metrics metrics_{registry_};
  transport::Services services_;
  std::unique_ptr<transport::Server> server_;
};

}  // namespace extprocd::test
