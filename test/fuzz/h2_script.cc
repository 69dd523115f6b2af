#include "test/fuzz/h2_script.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace extprocd::fuzz {
namespace {

/// What a call takes before it stops reading, what lies in the connection and in the sockets' buffers, and the
/// replies to what came at once.
constexpr std::size_t kMostUnread = (1 << 20) + (512 << 10) + (1 << 20);

class ScriptStream final : public engine::ServerStream {
 public:
  ScriptStream(engine::Sink& sink, const engine::StreamFacts& facts, Script& script)
      : sink_(sink), script_(script) {
    for (const auto& [name, value] : facts.metadata) {
      sum_ += name.size();
      for (const char byte : value) sum_ += static_cast<unsigned char>(byte);
      if (name == "x-n") name_ = value;
    }
    sum_ += facts.peer.size();
    script_.by_name.emplace(name_, &life_);
    run();
  }
  ~ScriptStream() override {
    require(life_.finished || life_.cancelled, "a stream is destroyed when it is over");
    life_.destroyed = true;
  }

  void receive(engine::Message message) override {
    require_alive();
    require(!half_closed_, "no message comes behind a half-close");
    require(!paused_ && !inside_, "no message comes to a stream that is paused, or from within it");
    for (const char byte : message.bytes()) sum_ += static_cast<unsigned char>(byte);
    if (script_.names_hold) {
      require(life_.sent - script_.arrived[name_] <= kMostUnread,
              "a stream whose replies are not read gets no more messages");
    }
    run();
  }
  void half_closed() override {
    require_alive();
    require(!half_closed_, "a half-close is told once");
    require(!paused_ && !inside_, "no half-close comes to a stream that is paused, or from within it");
    half_closed_ = true;
    run();
  }
  void cancelled(engine::Cancel) override {
    require_alive();
    life_.cancelled = true;
  }
  void timer_fired() override {
    require_alive();
    require(timer_is_set_, "a timer fires once when it was set");
    timer_is_set_ = false;
    resume();
    run();
  }

 private:
  void require_alive() {
    require(!life_.finished, "nothing is told to a stream that has finished");
    require(!life_.cancelled, "nothing is told to a stream that was cancelled");
  }

  void send(std::string_view message) {
    life_.sent += 5 + message.size();
    sink_.send(message);
  }
  void finish(const absl::Status& status) {
    life_.finished = true;
    sink_.finish(status);
  }

  void pause() {
    paused_ = true;
    sink_.pause_reading();
  }
  void resume() {
    paused_ = false;
    sink_.resume_reading();
  }

  void run() {
    inside_ = true;
    run_program();
    inside_ = false;
  }

  void run_program() {
    Input& program = script_.program();
    while (!program.empty() && !life_.finished) {
      const uint8_t op = program.byte();
      const std::size_t size = op >> 4;
      switch (op & 0xf) {
        case 0:
          return;
        case 1:  // for what comes next, or for less
          pause();
          if (size < 8) post();
          if (size == 1) resume();
          return;
        case 2:
          timer_is_set_ = size != 1;
          if (size < 4) pause();
          sink_.set_timer(timer_is_set_ ? std::optional(sink_.now() + std::chrono::hours(size & 1))
                                        : std::nullopt);
          return;
        case 3:
          send({});
          break;
        case 4:
          send(std::string(size, 'a'));
          break;
        case 5:
          send(std::string(size << 12, 'b'));
          break;
        case 6:
          send(std::string(size << 15, 'c'));
          break;
        case 7:
          for (std::size_t i = 0; i < size; ++i) send(std::string(1 << (2 * (i % 9)), 'd'));
          break;
        case 8:
          return finish(absl::OkStatus());
        case 9:
          return finish(absl::Status(static_cast<absl::StatusCode>(size), std::string(program.text(size))));
        case 10:
          return finish(absl::InternalError(std::string(size << 12, '%')));
        case 11:
          post();
          break;
        case 12:
          script_.executors.push_back(sink_.executor());
          break;
        case 13:
          if (half_closed_) return finish(absl::OkStatus());
          break;
        case 14:
          sink_.send({"head", std::string(size, 'e'), "tail"});
          life_.sent += 5 + 8 + size;
          break;
        default:
          post();
          return;
      }
    }
  }

  void post() {
    sink_.executor()->post([this] {
      require_alive();
      resume();
      run();
    });
  }

  engine::Sink& sink_;
  Script& script_;
  Script::Life& life_ = *script_.lives.emplace_back(std::make_unique<Script::Life>());
  std::string name_;
  bool half_closed_ = false;
  bool paused_ = false;
  bool inside_ = false;
  bool timer_is_set_ = false;
  std::size_t sum_ = 0;  // the sanitizers look at every byte
};

}  // namespace

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

std::unique_ptr<engine::ServerStream> ScriptFactory::open(engine::Sink& sink,
                                                          const engine::StreamFacts& facts) {
  return std::make_unique<ScriptStream>(sink, facts, *script_);
}

}  // namespace extprocd::fuzz
