#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <extproc/abi.h>

namespace scripted {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// A header whose value is something that the plugin sees: see Script::read for the words.
struct Copy {
  std::string header;
  std::string kind;    ///< attribute, metadata, header, facts or body
  std::string name;    ///< of what is looked up
  std::string detail;  ///< metadata: the key in the namespace
};

struct Metadata {
  enum class Type : std::uint8_t { kString, kNumber, kBool };
  std::string name_space;
  std::string key;
  Type type = Type::kString;
  std::string text;
  double number = 0;
  bool flag = false;
};

/// Changes of the body in a body phase.
struct BodyScript {
  std::optional<std::pair<std::string, std::string>>
      replace;  ///< the first text by the second, wherever it is
  bool clear = false;
  std::string append;      ///< at the body's end
  std::uint64_t hold = 0;  ///< pieces that are kept back until there are so many, or the body ends
  std::size_t recut = 0;   ///< bytes of the pieces that it goes on in; what is left over waits for more

  [[nodiscard]] bool changes() const {
    return replace || clear || !append.empty() || hold != 0 || recut != 0;
  }
};

struct Reply {
  std::uint32_t status = 200;
  Headers headers;
  std::string body;
  std::string details;
  std::int32_t grpc_status = -1;
  /// In pieces: the first with the headers, the others at once, or one with each piece of the request's body.
  std::vector<std::string> pieces;
  bool with_body = false;
  Headers trailers;
};

struct Failure {
  std::uint32_t code = 13;
  std::string text;
};

/// What is done in one phase.
struct PhaseScript {
  Headers set;  ///< in a body phase: of that direction's headers
  Headers add;
  std::vector<std::string> remove;
  std::vector<Copy> copy;
  std::vector<Metadata> metadata;
  std::optional<std::string> replace_body;
  bool clear_route_cache = false;
  std::uint32_t skip = 0;                       ///< EXTPROC_PHASE_BIT
  std::optional<std::uint64_t> extend_timeout;  ///< milliseconds
  std::uint64_t sleep = 0;  ///< milliseconds in which the thread is held, as no plugin should
  BodyScript body;
  bool hold = false;  ///< headers phases: until the body was seen

  // How the phase ends, at most one of them.
  std::optional<Reply> reply;
  std::optional<Failure> fail;
  std::optional<std::string> raise;
  bool finish = false;

  /// In a body phase all but `body` is done once, at this piece; 0: at the body's end.
  std::uint64_t at = 1;
  /// A host call that is refused is passed over; otherwise it makes the plugin fail.
  bool ignore_refusals = false;
};

/// What the plugin does on every stream.
struct Script {
  std::array<PhaseScript, EXTPROC_PHASE_COUNT> phase;

  /// Reads [plugin.config], a table a phase. `access` is the module's. Mistakes are reported to the host, which then takes
  /// create for failed.
  static Script read(const extproc_host& host, std::uint32_t access);
};

/// Names of phases as the configuration has them.
extern const std::array<const char*, EXTPROC_PHASE_COUNT> kPhaseNames;

}  // namespace scripted
