#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/wire/request_view.h"

namespace extprocd::wire {

/// For tests and fuzzing: holds RequestView against protobuf's own classes. One oracle judges many messages with one
/// view, of which nothing may stay from one message to the next.
class ViewOracle {
 public:
  ViewOracle();
  ~ViewOracle();
  ViewOracle(const ViewOracle&) = delete;
  ViewOracle& operator=(const ViewOracle&) = delete;

  /// What RequestView sees otherwise than protobuf in these bytes; empty if they agree.
  std::string disagreement(std::string_view bytes);

  // What was judged so far: a property that holds for lack of cases proves nothing.
  [[nodiscard]] int taken() const { return taken_; }
  [[nodiscard]] int refused() const { return refused_; }
  /// A bit for each MessageKind that was taken.
  [[nodiscard]] unsigned kinds() const { return kinds_; }

 private:
  class UnreadContract;

  const std::unique_ptr<const UnreadContract> contract_;
  RequestView view_;
  int taken_ = 0;
  int refused_ = 0;
  unsigned kinds_ = 0;
};

}  // namespace extprocd::wire
