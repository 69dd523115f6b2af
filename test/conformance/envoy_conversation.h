#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "core/engine/process_service.h"
#include "test/conformance/envoy_case.h"

namespace extprocd::conformance {

/// In which order parts of the exchange arrive and messages and replies are delivered.
enum class Schedule : std::uint8_t {
  kLockstep,  ///< nothing more arrives before all messages are answered
  kEager,     ///< all arrives that can before the next message is delivered
};

/// What a conversation of the model of Envoy with the server came to.
struct Conversation {
  struct Turn {
    std::string message;               ///< bytes of one gRPC message to the server
    std::vector<std::string> replies;  ///< bytes of those that it sent before the next one
  };
  std::vector<Turn> turns;
  bool ended = false;              ///< by the server, before the model was done
  bool cancelled = false;          ///< by the model
  absl::Status end;                ///< that the stream ended with
  std::vector<std::string> wrong;  ///< what is not as the case demands, in words

  /// All messages and replies, to read.
  [[nodiscard]] std::string transcript() const;
};

/// Lets the model of Envoy talk with the engine, judges every reply, and compares what reaches upstream and client.
Conversation converse(const Case& a_case, Schedule schedule, engine::ProcessService& service);

}  // namespace extprocd::conformance
