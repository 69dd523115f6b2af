#include "test/model/body_call.h"

#include <algorithm>
#include <utility>

namespace extprocd::model {

std::string joined(const Pieces& pieces) {
  std::string all;
  for (const auto& piece : pieces) all += piece;
  return all;
}

std::size_t size_of(const Pieces& pieces) { return joined(pieces).size(); }

void append(Pieces& pieces, const Pieces& more) { pieces.insert(pieces.end(), more.begin(), more.end()); }

BodyCall::BodyCall(Pieces shown, bool messages, bool may_change)
    : shown_(std::move(shown)), messages_(messages), may_change_(may_change), rest_(shown_) {}

Pieces BodyCall::all() const {
  Pieces all = out_;
  append(all, rest_);
  return all;
}

std::uint32_t BodyCall::take(const Step& step) {
  if (!may_change_) return EXTPROC_UNSUPPORTED;
  if (step.kind == Step::Kind::kWrite) {
    out_.push_back(step.value);
    return EXTPROC_OK;
  }
  Pieces rest = rest_;
  Pieces taken;
  std::size_t size = step.size;
  const bool one_empty = size == 0 && messages_ && !rest.empty() && rest.front().empty();
  while (!rest.empty() && (size > 0 || one_empty)) {
    std::string& next = rest.front();
    if (messages_ && next.size() > size) return EXTPROC_UNSUPPORTED;
    const std::size_t here = std::min(size, next.size());
    taken.push_back(next.substr(0, here));
    next.erase(0, here);
    size -= here;
    if (next.empty()) rest.erase(rest.begin());
    if (one_empty) break;
  }
  rest_ = std::move(rest);
  if (step.kind == Step::Kind::kForward) append(out_, taken);
  return EXTPROC_OK;
}

}  // namespace extprocd::model
