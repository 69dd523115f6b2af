#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/stream.h"
#include "test/model/coverage.h"
#include "test/model/envoy_model.h"
#include "test/model/patient_reference.h"
#include "test/model/planned_chain.h"
#include "test/model/random.h"
#include "test/model/random_case.h"

namespace extprocd::model {

/// A stream of the engine with the reference beside it: each message goes to both, and they must agree. The first thing
/// that is wrong is kept; nothing is done after it.
class CheckedStream {
 public:
  using ProcessingResponse = envoy::service::ext_proc::v3::ProcessingResponse;
  using CommonResponse = envoy::service::ext_proc::v3::CommonResponse;

  /// `chain` outlives the stream.
  CheckedStream(PlannedChain& chain, std::uint64_t id, bool flow_control, Coverage& coverage);

  /// A message; not while the stream does not read.
  void receive(const std::string& bytes);
  void half_close();
  void cancel(engine::Cancel by);
  /// The stream goes; what plugins wrote down must be what the reference did.
  void destroy();

  /// Does it stand still, because a plugin waits?
  [[nodiscard]] bool waits() const { return reference_.waits(); }
  /// How likely one of the things comes that happen() does; 0 if there is nothing to happen.
  [[nodiscard]] std::size_t weight() const;
  /// Time passes, somebody resumes a plugin, or what was posted to the stream's thread is done.
  void happen(Random& random);

  /// Replies that came, in order; the caller takes them out.
  std::deque<ProcessingResponse>& replies() { return sink_.replies; }
  [[nodiscard]] const std::optional<absl::Status>& status() const { return sink_.status; }
  [[nodiscard]] const ServerReference& reference() const { return reference_.server(); }
  /// Resumes that came to nothing.
  [[nodiscard]] std::uint64_t ignored_resumes() const { return reference_.ignored(); }
  [[nodiscard]] const std::string& wrong() const { return wrong_; }
  /// All that happened, line by line.
  [[nodiscard]] const std::string& transcript() const { return transcript_; }
  void note(const std::string& line) { transcript_ += "  " + line + "\n"; }
  void is_wrong(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

 private:
  class Sink final : public engine::Sink {
   public:
    void send(const wire::Pieces& message) override;
    void finish(const absl::Status& end) override;
    std::shared_ptr<engine::Executor> executor() override { return posted; }
    void pause_reading() override;
    void resume_reading() override;
    void set_timer(std::optional<engine::Clock::time_point> at) override { timer = at; }
    [[nodiscard]] engine::Clock::time_point now() const override { return time; }
    /// What was posted to the stream's thread.
    struct Posted final : engine::Executor {
      void post(std::function<void()> one) override { work.push_back(std::move(one)); }
      std::deque<std::function<void()>> work;
    };
    std::shared_ptr<Posted> posted = std::make_shared<Posted>();
    bool paused = false;
    std::optional<engine::Clock::time_point> timer;
    engine::Clock::time_point time{kBegin};
    std::deque<ProcessingResponse> replies;
    std::vector<ProcessingResponse> of_message;  // all that came since the last message
    std::optional<absl::Status> status;
    std::string wrong;
  };

  static constexpr engine::Clock::time_point kBegin{std::chrono::hours(1)};

  [[nodiscard]] Time now() const;
  void resume(std::size_t suspension, std::uint64_t token);
  void run_posted();
  void let_time_pass(Time millis, Time too_late);
  [[nodiscard]] bool can_be_resumed() const;
  void compare(const Owed& owed);
  void compare_waiting();
  void compare_times(const Owed& owed, std::deque<ProcessingResponse>& got);
  void compare_reply(const Owed::Reply& owed, std::deque<ProcessingResponse>& got);
  void compare_headers(const Owed::Reply& owed, const CommonResponse& got);
  void compare_body(const Owed::Reply& owed, const CommonResponse& got);
  void compare_streamed(const Owed::Reply& owed, std::deque<ProcessingResponse>& got);
  void compare_immediate(const Owed::Immediate& owed, const ProcessingResponse& got);
  void compare_metadata(const Owed& owed, const std::deque<ProcessingResponse>& got);

  PlannedChain& chain_;
  const std::uint64_t id_;
  const bool flow_control_;
  Coverage& coverage_;
  Sink sink_;
  std::unique_ptr<engine::Stream> stream_;
  PatientReference reference_;
  std::size_t noted_ = 0;  // of the replies to the message at hand
  std::string wrong_;
  std::string transcript_;
};

/// A legal conversation: the model of Envoy on one side, the engine on the other, messages and replies on their way
/// between them for as long as the schedule has it.
class Conversation {
 public:
  Conversation(const Case& a_case, PlannedChain& chain, std::uint64_t id, Coverage& coverage);

  /// One more thing happens. False: nothing is left that could.
  bool step();
  /// Ends the stream, and compares what arrived with what should have.
  void finish();

  [[nodiscard]] const std::string& wrong() const { return stream_.wrong(); }
  [[nodiscard]] const std::string& transcript() const { return stream_.transcript(); }
  [[nodiscard]] std::uint64_t ignored_resumes() const { return stream_.ignored_resumes(); }
  /// The messages that went to the server.
  [[nodiscard]] const std::vector<std::string>& messages() const { return messages_; }

 private:
  void deliver_message();
  void deliver_reply();
  bool cut();
  void end_of_server();
  void compare_side(Side side);
  void count_case();

  const Case case_;
  Random random_;
  Coverage& coverage_;
  EnvoyModel model_;
  CheckedStream stream_;
  std::vector<std::string> messages_;
  std::uint32_t happened_ = 0;
  bool cut_off_ = false;
  bool end_told_ = false;  // to the model: the server ended the stream
};

}  // namespace extprocd::model
