// The bare server: the least that an ext_proc server on nghttp2 and one thread can do. It reads every message
// through views and answers with prepared replies; no plugins, no checks, no metrics. What extprocd costs is
// told as a multiple of it, so that figures of different machines compare.

#include <csignal>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <malloc.h>
#include <sys/signalfd.h>

#include "core/wire/request_view.h"
#include "test/bench/answers.h"
#include "test/bench/poller.h"
#include "test/bench/session.h"
#include "test/bench/socket.h"

namespace extprocd::bench {
namespace {

constexpr int kKeptBytes = 32 << 20;  // the most that glibc takes

/// What all streams use; there is one thread.
struct Workbench {
  Answers answers;
  wire::RequestView request = {};
  uint64_t closed = 0;
  uint64_t reset = 0;  ///< of those, by either side
};

class Call final : public Stream, private ReplySink {
 public:
  explicit Call(Workbench& bench) : bench_(bench) {}

 private:
  void send_reply(const wire::Pieces& message) override { send_message(message); }

  void on_message(std::string_view message) override {
    if (!bench_.request.parse(message).ok()) return end_with("3");  // INVALID_ARGUMENT
    if (bench_.request.protocol_config()) modes_ = *bench_.request.protocol_config();
    if (bench_.answers.fault() == Fault::kReset) return reset();
    if (bench_.answers.fault() == Fault::kSilence) return;
    bench_.answers.answer(bench_.request, modes_, *this);
  }

  void on_half_close() override {
    switch (bench_.answers.fault()) {
      case Fault::kStatus:
        return end_with("13");
      case Fault::kNoStatus:
        return end_with("");
      default:
        return end_with("0");
    }
  }

  void on_close(uint32_t http2_error, std::string_view /*lost*/) override {
    ++bench_.closed;
    if (http2_error != NGHTTP2_NO_ERROR) ++bench_.reset;
  }

  Workbench& bench_;
  wire::ProtocolConfig modes_;
};

class Listener : public Watcher {
 public:
  Listener(Descriptor socket, Poller& poller, Workbench& bench)
      : socket_(std::move(socket)), poller_(poller), bench_(bench) {
    poller_.add(socket_.get(), *this);
  }

  void on_ready() override {
    for (Descriptor client = accept_from(socket_); client.get() >= 0; client = accept_from(socket_)) {
      sessions_.push_back(std::make_unique<Session>(std::move(client), poller_,
                                                    [this] { return std::make_unique<Call>(bench_); }));
      sessions_.back()->flush();
    }
  }

  void remove_lost() {
    sessions_.remove_if([](const std::unique_ptr<Session>& session) { return !session->lost().empty(); });
  }

 private:
  Descriptor socket_;
  Poller& poller_;
  Workbench& bench_;
  std::list<std::unique_ptr<Session>> sessions_;
};

/// SIGTERM and SIGINT as something to wait for.
class Signals : public Watcher {
 public:
  explicit Signals(Poller& poller) : fd_(make()) { poller.add(fd_.get(), *this); }

  void on_ready() override { came_ = true; }
  [[nodiscard]] bool came() const { return came_; }

 private:
  static int make() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  }

  Descriptor fd_;
  bool came_ = false;
};

int serve(const std::string& address, Workbench& bench) {
  absl::StatusOr<Descriptor> socket = listen_on(address);
  if (!socket.ok()) {
    std::fprintf(stderr, "bare: %s\n", std::string(socket.status().message()).c_str());
    return 1;
  }
  Poller poller;
  const Signals signals(poller);
  std::printf("listening on %s\n", local_address(*socket).c_str());
  std::fflush(stdout);
  Listener listener(std::move(*socket), poller, bench);
  while (!signals.came()) {
    poller.wait(std::nullopt);
    listener.remove_lost();
  }
  std::printf("%llu streams, %llu reset\n", static_cast<unsigned long long>(bench.closed),
              static_cast<unsigned long long>(bench.reset));
  return 0;
}

}  // namespace
}  // namespace extprocd::bench

int main(int argc, char** argv) {
  using extprocd::bench::Fault;
  const std::map<std::string, Fault> faults = {
      {"kind", Fault::kKind},       {"extra", Fault::kExtra},       {"echo", Fault::kEcho},
      {"short", Fault::kShort},     {"streamed", Fault::kStreamed}, {"unstreamed", Fault::kUnstreamed},
      {"silence", Fault::kSilence}, {"status", Fault::kStatus},     {"no-status", Fault::kNoStatus},
      {"reset", Fault::kReset}};
  CLI::App app{"A bare ext_proc server as a yardstick: one thread, prepared replies"};
  app.name("bare");
  std::string address = "127.0.0.1:0";
  std::string set_header;
  Fault fault = Fault::kNone;
  app.add_option("--listen", address, "Listen on ADDR")->type_name("ADDR")->capture_default_str();
  app.add_option("--set-header", set_header, "Set this header on every request")->type_name("NAME:VALUE");
  app.add_option("--wrong", fault, "Do this wrong, to show that a client notices")
      ->type_name("FAULT")
      ->transform(
          CLI::CheckedTransformer(faults).description("none, kind, extra, echo, silence, status, reset"));
  CLI11_PARSE(app, argc, argv);
  // Else the memory of large bodies goes back to the system, and comes anew, with every stream.
  mallopt(M_MMAP_THRESHOLD, extprocd::bench::kKeptBytes);
  mallopt(M_TRIM_THRESHOLD, extprocd::bench::kKeptBytes);
  extprocd::bench::Workbench bench{.answers = extprocd::bench::Answers(set_header, fault)};
  return extprocd::bench::serve(address, bench);
}
