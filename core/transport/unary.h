#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"

#include "core/engine/seam.h"

namespace extprocd::transport {

/// A method with one request and one response, as a stream. `Request` is a generated class.
template <typename Request>
class UnaryStream final : public engine::ServerStream {
 public:
  using Answer = std::function<std::string(const Request&)>;

  UnaryStream(const Answer& answer, engine::Sink& sink) : answer_(answer), sink_(sink) {}

  void receive(engine::Message message) override {
    if (over_) return;
    over_ = true;
    Request request;
    if (!request.ParseFromArray(message.bytes().data(), static_cast<int>(message.bytes().size()))) {
      sink_.finish(absl::InvalidArgumentError("the request cannot be decoded"));
      return;
    }
    sink_.send(answer_(request));
    sink_.finish(absl::OkStatus());
  }
  void half_closed() override {
    if (std::exchange(over_, true)) return;
    sink_.finish(absl::InvalidArgumentError("no request came"));
  }
  void cancelled(engine::Cancel) override { over_ = true; }

 private:
  const Answer& answer_;
  engine::Sink& sink_;
  bool over_ = false;
};

template <typename Request>
class UnaryFactory final : public engine::StreamFactory {
 public:
  explicit UnaryFactory(typename UnaryStream<Request>::Answer answer) : answer_(std::move(answer)) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<UnaryStream<Request>>(answer_, sink);
  }

 private:
  const typename UnaryStream<Request>::Answer answer_;
};

/// A factory that answers each request with the encoded response that `answer` gives, from any thread.
template <typename Request>
std::unique_ptr<engine::StreamFactory> make_unary(typename UnaryStream<Request>::Answer answer) {
  return std::make_unique<UnaryFactory<Request>>(std::move(answer));
}

}  // namespace extprocd::transport
