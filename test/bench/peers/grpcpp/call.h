#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include <grpcpp/grpcpp.h>

#include "core/wire/request_view.h"
#include "test/bench/answers.h"

namespace extprocd::bench {

using ProcessMethod = envoy::service::ext_proc::v3::ExternalProcessor::WithRawMethod_Process<
    envoy::service::ext_proc::v3::ExternalProcessor::Service>;

/// A completion queue and what the calls on it use. One thread.
struct Lane {
  Lane(ProcessMethod& method, std::unique_ptr<grpc::ServerCompletionQueue> its_queue,
       std::string_view set_header)
      : process(method), queue(std::move(its_queue)), answers(set_header, Fault::kNone) {}

  /// Runs the steps of all calls until the queue is shut down.
  void serve();

  ProcessMethod& process;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  Answers answers;
  wire::RequestView request;
  std::atomic<std::size_t> calls{0};  ///< that live, and need the queue
};

/// One stream, as bytes: reads a message, sends its answers, reads the next; ends when the client has. Lives
/// until gRPC has handed back all its steps.
class Call final : private ReplySink {
 public:
  /// Asks for the next stream.
  static void await(Lane& lane);

 private:
  friend struct Lane;

  /// What a completion queue hands back.
  struct Step {
    Call* call;
    void (Call::*run)(bool ok);
  };

  explicit Call(Lane& lane) : lane_(lane) { lane_.calls.fetch_add(1, std::memory_order_relaxed); }
  ~Call() { lane_.calls.fetch_sub(1, std::memory_order_release); }

  void send_reply(const wire::Pieces& message) override;

  void on_started(bool ok);
  void on_read(bool ok);
  void on_written(bool ok);
  void on_finished(bool ok);

  void answer();
  void read();
  void write(grpc::ByteBuffer reply);
  /// Nothing is read any more; ends the stream once what waits is written.
  void end_with(grpc::Status status);
  void finish();

  Lane& lane_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> io_{&context_};
  Step started_{this, &Call::on_started};
  Step read_{this, &Call::on_read};
  Step written_{this, &Call::on_written};
  Step finished_{this, &Call::on_finished};
  wire::ProtocolConfig modes_;
  grpc::ByteBuffer incoming_;
  grpc::Slice message_;                   // the incoming one, while it is answered
  std::deque<grpc::ByteBuffer> waiting_;  // behind the one that is being written
  std::optional<grpc::Status> status_;    // how the stream ends, once that is known
  bool writing_ = false;
  bool paused_ = false;  // reads on once nothing waits
};

}  // namespace extprocd::bench
