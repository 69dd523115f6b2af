#include "core/transport/health.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "grpc/health/v1/health.pb.h"

#include "core/transport/unary.h"

namespace extprocd::transport {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

HealthCheckResponse::ServingStatus status_of(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

std::string encoded(bool serving) {
  HealthCheckResponse response;
  response.set_status(status_of(serving));
  return response.SerializeAsString();
}

/// Sends the state at once and at every change, until the client leaves or the server goes away.
class WatchStream final : public engine::ServerStream {
 public:
  WatchStream(HealthState& state, engine::Sink& sink) : state_(state), sink_(sink) {}
  ~WatchStream() override { stop(); }

  void receive(engine::Message message) override {
    if (watching_ || over_) return;
    HealthCheckRequest request;
    if (!request.ParseFromArray(message.bytes().data(), static_cast<int>(message.bytes().size()))) {
      over_ = true;
      sink_.finish(absl::InvalidArgumentError("not a HealthCheckRequest"));
      return;
    }
    const auto watch = state_.watch(sink_.executor(), [this](HealthState::Event event) { changed(event); });
    watching_ = true;
    id_ = watch.id;
    sink_.send(encoded(watch.serving));
    if (watch.ended) changed(HealthState::Event::kEnd);
  }
  void half_closed() override {
    if (watching_ || over_) return;  // a client sends its one request and then only listens
    over_ = true;
    sink_.finish(absl::InvalidArgumentError("no HealthCheckRequest came"));
  }
  void cancelled(engine::Cancel) override { stop(); }

 private:
  void changed(HealthState::Event event) {
    if (over_) return;
    if (event != HealthState::Event::kEnd) {
      sink_.send(encoded(event == HealthState::Event::kServing));
      return;
    }
    stop();
    sink_.finish(absl::UnavailableError("the server is going away"));
  }
  void stop() {
    over_ = true;
    if (std::exchange(watching_, false)) state_.unwatch(id_);
  }

  HealthState& state_;
  engine::Sink& sink_;
  bool watching_ = false;
  bool over_ = false;
  uint64_t id_ = 0;
};

class WatchFactory final : public engine::StreamFactory {
 public:
  explicit WatchFactory(HealthState& state) : state_(state) {}
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts&) override {
    return std::make_unique<WatchStream>(state_, sink);
  }

 private:
  HealthState& state_;
};

}  // namespace

bool HealthState::serving() const {
  const std::lock_guard lock(mutex_);
  return serving_;
}

void HealthState::set_serving(bool serving) {
  const std::lock_guard lock(mutex_);
  if (serving_ == serving) return;
  serving_ = serving;
  tell(serving ? Event::kServing : Event::kNotServing);
}

void HealthState::end_watches() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(ended_, true)) return;
  tell(Event::kEnd);
}

void HealthState::tell(Event event) {
  for (const auto& [id, watcher] : watchers_) {
    if (watcher.executor) watcher.executor->post([listener = watcher.listener, event] { listener(event); });
  }
}

HealthState::Watch HealthState::watch(std::shared_ptr<engine::Executor> executor, Listener listener) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = next_id_++;
  watchers_.emplace(id, Watcher{std::move(executor), std::move(listener)});
  return {serving_, ended_, id};
}

void HealthState::unwatch(uint64_t id) {
  const std::lock_guard lock(mutex_);
  watchers_.erase(id);
}

void add_health_service(Services& services, HealthState& state) {
  services.add("/grpc.health.v1.Health/Check",
               make_unary<HealthCheckRequest>(
                   [&state](const HealthCheckRequest&) { return encoded(state.serving()); }));
  services.add(
      "/grpc.health.v1.Health/List", make_unary<HealthListRequest>([&state](const HealthListRequest&) {
        HealthListResponse response;
        const auto status = status_of(state.serving());
        (*response.mutable_statuses())[""].set_status(status);
        (*response.mutable_statuses())["envoy.service.ext_proc.v3.ExternalProcessor"].set_status(status);
        return response.SerializeAsString();
      }));
  services.add("/grpc.health.v1.Health/Watch", std::make_unique<WatchFactory>(state));
  services.add_long_lived([&state] { state.end_watches(); });
}

}  // namespace extprocd::transport
