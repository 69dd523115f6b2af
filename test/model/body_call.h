#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "test/model/plugin_plan.h"

namespace extprocd::model {

/// Body bytes in pieces: gRPC messages where the mode has them, otherwise in any cut.
using Pieces = std::vector<std::string>;

std::string joined(const Pieces& pieces);
std::size_t size_of(const Pieces& pieces);
void append(Pieces& pieces, const Pieces& more);

/// One call of a plugin in a body phase: what it is shown, and what its calls of extproc.body/1 make of that.
class BodyCall {
 public:
  /// `messages`: each piece of `shown` is a gRPC message. `may_change`: by the plugin's access.
  BodyCall(Pieces shown, bool messages, bool may_change);

  /// Takes kWrite, kForward or kDrop; what the host answers. Of messages only whole ones go; one that is empty goes with
  /// the next, or by itself if nothing is asked for.
  std::uint32_t take(const Step& step);

  [[nodiscard]] const Pieces& shown() const { return shown_; }
  /// What went on so far.
  [[nodiscard]] const Pieces& out() const { return out_; }
  /// What was neither forwarded nor dropped.
  [[nodiscard]] const Pieces& rest() const { return rest_; }
  /// out() and behind it rest().
  [[nodiscard]] Pieces all() const;

 private:
  const Pieces shown_;
  const bool messages_;
  const bool may_change_;
  Pieces out_;
  Pieces rest_;
};

}  // namespace extprocd::model
