#include "core/engine/scratch.h"

#include <utility>

namespace extprocd::engine {
namespace {

constexpr std::size_t kMostKept =
    std::size_t{256} * 1024;  // of a reply; a thread's memory must not stay at its peak

thread_local std::unique_ptr<Scratch> idle;

}  // namespace

ScratchLease::ScratchLease() : scratch_(std::move(idle)) {
  if (scratch_ == nullptr) scratch_ = std::make_unique<Scratch>();
}

ScratchLease::~ScratchLease() {
  if (scratch_->writer.buffer_size() <= kMostKept) idle = std::move(scratch_);
}

}  // namespace extprocd::engine
