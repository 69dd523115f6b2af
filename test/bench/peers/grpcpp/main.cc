// An ext_proc server as one writes it on grpc++ for speed: completion queues with a thread each, messages as
// bytes that are read through views, prepared replies. What extprocd's transport on grpc++ costs is told as a
// multiple of it.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include <CLI/CLI.hpp>
#include <malloc.h>

#include "test/bench/peers/grpcpp/call.h"

namespace extprocd::bench {
namespace {

constexpr int kKeptBytes = 32 << 20;  // the most that glibc takes
constexpr int kMaxMessage = 64 << 20;
constexpr std::chrono::milliseconds kLook{1};
constexpr int kAwaitedCalls = 128;  // of each lane, so that one is there for every stream of a burst

struct Options {
  std::string address = "127.0.0.1:0";
  std::string set_header;
  unsigned threads = 0;
};

/// "host:port" with the port that the system chose; Unix sockets as they are.
std::string listening_on(const std::string& address, int port) {
  if (address.starts_with("unix:")) return address;
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

int serve(const Options& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // all threads from here on

  ProcessMethod process;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&process);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server on the port is a mistake
  builder.SetMaxReceiveMessageSize(kMaxMessage);
  builder.SetMaxSendMessageSize(-1);
  const unsigned threads =
      options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::unique_ptr<Lane>> lanes;
  for (unsigned i = 0; i < threads; ++i) {
    lanes.push_back(std::make_unique<Lane>(process, builder.AddCompletionQueue(), options.set_header));
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) {
    std::fprintf(stderr, "grpcpp: cannot listen on %s\n", options.address.c_str());
    for (auto& lane : lanes) {
      lane->queue->Shutdown();
      lane->serve();
    }
    return 1;
  }
  std::vector<std::thread> running;
  for (auto& lane : lanes) {
    for (int i = 0; i < kAwaitedCalls; ++i) Call::await(*lane);
    running.emplace_back([&lane] { lane->serve(); });
  }
  std::printf("listening on %s\n", listening_on(options.address, port).c_str());
  std::fflush(stdout);
  int number = 0;
  sigwait(&signals, &number);
  server->Shutdown(std::chrono::system_clock::now());  // cuts streams that are open
  for (auto& lane : lanes) {
    // Calls that were cut have steps to take, which a queue that is shut down would not let them.
    while (lane->calls.load(std::memory_order_acquire) != 0) std::this_thread::sleep_for(kLook);
    lane->queue->Shutdown();
  }
  for (std::thread& thread : running) thread.join();
  return 0;
}

}  // namespace
}  // namespace extprocd::bench

int main(int argc, char** argv) {
  CLI::App app{"An ext_proc server on grpc++'s completion queues with prepared replies"};
  app.name("grpcpp");
  extprocd::bench::Options options;
  app.add_option("--listen", options.address, "Listen on ADDR: host:port or unix:/path")
      ->type_name("ADDR")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Completion queues with a thread each; 0: one a core")
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--set-header", options.set_header, "Set this header on every request")
      ->type_name("NAME:VALUE");
  CLI11_PARSE(app, argc, argv);
  // Debian's abseil looks for lock cycles at every lock, which costs gRPC 10 to 40 percent.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Else the memory of large bodies goes back to the system, and comes anew, with every stream.
  mallopt(M_MMAP_THRESHOLD, extprocd::bench::kKeptBytes);
  mallopt(M_TRIM_THRESHOLD, extprocd::bench::kKeptBytes);
  return extprocd::bench::serve(options);
}
