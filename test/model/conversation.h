#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/stream.h"
#include "test/model/coverage.h"
#include "test/model/envoy_model.h"
#include "test/model/planned_chain.h"
#include "test/model/random.h"
#include "test/model/random_case.h"
#include "test/model/server_reference.h"

namespace extprocd::model {

/// A stream of the engine with the reference beside it: each message goes to both, and they must agree. The first thing
/// that is wrong is kept; nothing is done after it.
class CheckedStream {
 public:
  using ProcessingResponse = envoy::service::ext_proc::v3::ProcessingResponse;
  using CommonResponse = envoy::service::ext_proc::v3::CommonResponse;

  /// `chain` outlives the stream.
  CheckedStream(PlannedChain& chain, std::uint64_t id, bool flow_control, Coverage& coverage);

  void receive(const std::string& bytes);
  void half_close();
  void cancel(engine::Cancel by);
  /// The stream goes; what plugins wrote down must be what the reference did.
  void destroy();

  /// Replies that came, in order; the caller takes them out.
  std::deque<ProcessingResponse>& replies() { return sink_.replies; }
  [[nodiscard]] const std::optional<absl::Status>& status() const { return sink_.status; }
  [[nodiscard]] const ServerReference& reference() const { return reference_; }
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
    std::deque<ProcessingResponse> replies;
    std::optional<absl::Status> status;
    std::string wrong;
  };

  void compare(const Owed& owed, std::size_t replies_before, bool was_finished);
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
  ServerReference reference_;
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
