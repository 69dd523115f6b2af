#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/seam.h"
#include "test/fuzz/input.h"

namespace extprocd::fuzz {

void require(bool holds, const char* what);

/// What the streams of a server do, by bytes, and whether they are treated as the seam says. One thread.
class Script {
 public:
  explicit Script(std::string_view program) : program_(program) {}

  struct Life {
    bool finished = false;
    bool cancelled = false;
    bool destroyed = false;
    std::size_t sent = 0;  ///< bytes, with prefixes
  };
  std::vector<std::unique_ptr<Life>> lives;
  /// Those of them whose call said who it is, in "x-n".
  std::map<std::string, Life*, std::less<>> by_name;
  /// Does each call say who it is?
  bool names_hold = true;
  /// How many bytes of replies the client has got, by "x-n".
  std::map<std::string, std::size_t, std::less<>> arrived;
  std::vector<std::shared_ptr<engine::Executor>> executors;

  [[nodiscard]] Input& program() { return program_; }

 private:
  Input program_;
};

class ScriptFactory final : public engine::StreamFactory {
 public:
  /// Of the conversation that goes on now.
  void set_script(Script* script) { script_ = script; }
  std::unique_ptr<engine::ServerStream> open(engine::Sink& sink, const engine::StreamFacts& facts) override;

 private:
  Script* script_ = nullptr;
};

}  // namespace extprocd::fuzz
