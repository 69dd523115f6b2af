#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace extprocd::wire {

/// An encoded message in pieces that belong one behind the other, so that a body on its way through need not be
/// copied to stand between the fields around it. Borrowed; any piece may be empty.
class Pieces {
 public:
  /// A message in one piece. Implicit: it is what most messages are.
  Pieces(std::string_view whole) : pieces_{whole, {}, {}} {}
  Pieces(const std::string& whole) : Pieces(std::string_view(whole)) {}
  Pieces(std::string_view head, std::string_view body, std::string_view tail) : pieces_{head, body, tail} {}

  [[nodiscard]] const std::array<std::string_view, 3>& list() const { return pieces_; }
  [[nodiscard]] std::size_t size() const { return pieces_[0].size() + pieces_[1].size() + pieces_[2].size(); }
  /// All of it in one, copied.
  [[nodiscard]] std::string joined() const {
    std::string whole;
    whole.reserve(size());
    for (const std::string_view piece : pieces_) whole += piece;
    return whole;
  }

 private:
  std::array<std::string_view, 3> pieces_;
};

}  // namespace extprocd::wire
