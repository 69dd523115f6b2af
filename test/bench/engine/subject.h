#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/process_service.h"
#include "core/plugin/module.h"
#include "core/telemetry/metrics.h"
#include "test/bench/load/script.h"

namespace extprocd::bench {

/// What is measured: a chain of plugins, and the messages of the streams that are led through it.
struct Case {
  std::string name;
  std::vector<std::string> modules;  ///< of the chain, in order: "instructions", …
  ScriptOptions script;
  bool overloaded = false;  ///< each stream is refused when its first message comes
};

/// The messages of a script without gRPC's prefixes.
std::vector<std::string> messages_of(const Script& script);

/// Takes what streams send: copies it into one buffer, as a transport does. Ends the program on a status that is not
/// OK.
class CopyingSink final : public engine::Sink {
 public:
  void send(const wire::Pieces& message) override;
  void finish(const absl::Status& status) override;
  [[nodiscard]] uint64_t messages() const { return messages_; }

 private:
  std::string buffer_;
  uint64_t messages_ = 0;
};

/// A case, ready to run: the real engine with real modules, without a transport. Ends the program if the plugins
/// cannot be loaded.
class Subject {
 public:
  explicit Subject(Case what);

  [[nodiscard]] const std::string& name() const { return case_.name; }
  [[nodiscard]] std::size_t message_count() const { return messages_.size(); }
  /// Of all messages together.
  [[nodiscard]] std::size_t message_bytes() const;
  [[nodiscard]] std::size_t first_message_bytes() const { return messages_.front().size(); }
  /// Leads so many streams through the engine, one after the other. Ends the program if replies are missing.
  void run(std::size_t streams);
  /// Opens a stream, shows it its first message and leaves it so.
  std::unique_ptr<engine::ServerStream> open_idle(CopyingSink& sink);

 private:
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink);

  Case case_;
  std::vector<std::string> messages_;
  telemetry::Registry registry_{9};  // one more than there are cells of their own
  telemetry::Metrics metrics_{registry_};
  std::unique_ptr<plugin::ModuleRegistry> modules_;
  std::unique_ptr<engine::ProcessService> service_;
};

}  // namespace extprocd::bench
