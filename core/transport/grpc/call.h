#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include <grpcpp/alarm.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "core/telemetry/metrics.h"
#include "core/transport/grpc/traffic.h"
#include "core/transport/services.h"

namespace extprocd::transport {

/// Something that a completion queue hands back: a step of a call. Exactly one of the server's threads runs
/// it.
struct Step {
  virtual void run(bool ok) = 0;

 protected:
  ~Step() = default;
};

using ProcessMethod = envoy::service::ext_proc::v3::ExternalProcessor::WithRawMethod_Process<
    envoy::service::ext_proc::v3::ExternalProcessor::Service>;

/// What the calls of a server share.
struct CallContext {
  const Services& services;
  engine::StreamFactory* const process_factory;
  ProcessMethod process;
  grpc::AsyncGenericService generic;
  Traffic traffic;
  std::atomic<std::size_t> open{0};       ///< streams
  std::atomic<std::size_t> cancelled{0};  ///< by the drain's deadline
  std::atomic<bool> stopping{false};      ///< no new calls are asked for
  std::atomic<bool> past_deadline{false};

  std::size_t max_streams = std::numeric_limits<uint32_t>::max();
  const telemetry::Metrics* metrics = nullptr;  ///< may be null

  explicit CallContext(const Services& all) : services(all), process_factory(all.find(Services::kProcess)) {}

  void count(telemetry::Limit limit) const {
    if (metrics != nullptr) metrics->limits[static_cast<std::size_t>(limit)]->add();
  }

  /// One stream less; wakes who waits for the last one.
  void stream_over() {
    if (open.fetch_sub(1) != 1 || !stopping.load()) return;
    const std::lock_guard lock(mutex);
    all_over.notify_all();
  }
  std::mutex mutex;
  std::condition_variable all_over;
};

/// One gRPC stream on grpc++: waits for its start, then moves messages between the wire and a ServerStream.
/// Deletes itself when grpc++ has handed back all its steps. All of it runs on the thread of its completion
/// queue, but for Executor::post.
class Call final : public engine::Sink {
 public:
  enum class Kind : uint8_t {
    kProcess,  ///< the Process method
    kOther,    ///< any other method: looked up by its path
  };

  /// Asks grpc++ for the next stream of a kind; the object then lives by itself.
  static void await(CallContext& context, grpc::ServerCompletionQueue& queue, Kind kind);

  void send(const wire::Pieces& message) override;
  void finish(const absl::Status& status) override;
  std::shared_ptr<engine::Executor> executor() override;
  void pause_reading() override { stopped_ = true; }
  void resume_reading() override;
  void set_timer(std::optional<engine::Clock::time_point> time) override;

 private:
  /// Unsent bytes at which the stream stops reading, so that a peer that does not read is held back by
  /// HTTP/2's flow control and nothing queues without bound.
  static constexpr std::size_t kMaxUnsent = 1 << 20;
  /// What a message costs that waits to be sent, besides its bytes: a peer that does not read must not gain by
  /// wanting many small replies.
  static constexpr std::size_t kUnsentOverhead = 512;

  template <void (Call::*handler)(bool ok)>
  struct CallStep final : Step {
    explicit CallStep(Call& owner) : call(owner) {}
    void run(bool ok) override { (call.*handler)(ok); }
    Call& call;
  };
  class CallExecutor;

  /// An alarm that rings has to come back before it can be set again, also when it was called off. So it is left to ring
  /// wherever that is early enough.
  struct Timer {
    std::optional<engine::Clock::time_point> due;  ///< what the stream wants
    std::optional<engine::Clock::time_point> rings_at;
    grpc::Alarm alarm;
  };

  Call(CallContext& context, grpc::ServerCompletionQueue& queue, Kind kind);
  ~Call() = default;

  void on_started(bool ok);
  void on_read(bool ok);
  void on_written(bool ok);
  void on_finished(bool ok);
  void on_done(bool ok);
  void on_alarm(bool ok);

  void refuse(grpc::StatusCode code, const std::string& text);
  void open_stream(engine::StreamFactory& factory, const std::string& peer);
  void count_event();
  void count_unread(bool unread);
  void read_on();
  void hand_over();
  void set_alarm();
  void over();
  void write(grpc::ByteBuffer& message);
  void finish_now();
  void step_over();

  CallContext& context_;
  grpc::ServerCompletionQueue& queue_;
  const Kind kind_;
  grpc::GenericServerContext server_context_;
  grpc::GenericServerAsyncReaderWriter io_{&server_context_};

  CallStep<&Call::on_started> started_step_{*this};
  CallStep<&Call::on_read> read_step_{*this};
  CallStep<&Call::on_written> written_step_{*this};
  CallStep<&Call::on_finished> finished_step_{*this};
  CallStep<&Call::on_done> done_step_{*this};
  CallStep<&Call::on_alarm> alarm_step_{*this};

  std::shared_ptr<Traffic::Events> events_;  // of its connection; null where nobody looks
  std::shared_ptr<CallExecutor> executor_;
  std::unique_ptr<Timer> timer_;  // null: never set
  std::unique_ptr<engine::ServerStream> stream_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer writing_now_;
  std::unique_ptr<std::deque<grpc::ByteBuffer>> waiting_;  // to be written behind it; null: never had any
  std::size_t unsent_ = 0;
  std::size_t steps_ = 0;  // that grpc++ has yet to hand back
  bool reading_ = false;
  bool writing_ = false;
  bool read_closed_ = false;
  bool stopped_ = false;  // the stream wants nothing now
  bool held_ = false;     // what was read last, which came when it was stopped
  bool unread_ = false;   // counted as such
  bool over_ = false;     // the stream gets no more calls
  bool broken_ = false;   // a write failed: the peer is gone
  std::optional<grpc::Status> final_status_;
  bool finishing_ = false;
};

}  // namespace extprocd::transport
