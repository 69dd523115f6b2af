#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "core/engine/stream.h"
#include "core/wire/body_mode.h"

namespace extprocd::fuzz {

using envoy::service::ext_proc::v3::CommonResponse;
using envoy::service::ext_proc::v3::ProcessingResponse;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// Judges what a stream sends, by the rules that hold whatever the plugins do.
class JudgingSink final : public engine::Sink {
 public:
  /// A message that the stream gets next. Those that cannot be read end it.
  void expect_answer_to(std::string_view message);

  void send(const wire::Pieces& message) override;
  void finish(const absl::Status& status) override;
  std::shared_ptr<engine::Executor> executor() override { return posted; }
  void pause_reading() override;
  void resume_reading() override;
  void set_timer(std::optional<engine::Clock::time_point> at) override;
  [[nodiscard]] engine::Clock::time_point now() const override { return time; }
  /// The stream gets no call any more, and makes none.
  void cancelled() { over_ = true; }

  /// Keeps what is posted to the stream's thread.
  struct Posted final : engine::Executor {
    void post(std::function<void()> one) override { work.push_back(std::move(one)); }
    std::deque<std::function<void()>> work;
  };
  std::shared_ptr<Posted> posted = std::make_shared<Posted>();
  bool paused = false;
  std::optional<engine::Clock::time_point> timer;
  engine::Clock::time_point time{std::chrono::hours(1)};
  bool finished = false;
  bool replied = false;  ///< a local reply is complete
  int replies = 0;
  ProcessingResponse last;

 private:
  /// What came and went in one direction.
  struct Flow {
    std::array<int, 3> messages{};  // headers, bodies, trailers
    std::array<int, 3> replies{};
    std::optional<wire::BodyMode> mode;
    bool ended = false;  // by a piece
  };

  void judge_reply(Flow& flow, std::size_t part, const ProcessingResponse& reply);
  void judge_piece(Flow& flow, const CommonResponse& common);
  void judge_local_reply_piece(const ProcessingResponse& reply);
  void judge_override(const ProcessingResponse& reply);

  bool over_ = false;
  bool started_ = false;
  bool observing_ = false;
  bool replies_in_pieces_ = false;
  bool asked_for_time_ = false;  // to answer the message at hand
  std::array<Flow, 2> flows_;
};

}  // namespace extprocd::fuzz
