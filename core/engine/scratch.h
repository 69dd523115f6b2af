#pragma once

#include <memory>

#include "core/http/header_mutation.h"
#include "core/wire/reply_writer.h"
#include "core/wire/request_view.h"

namespace extprocd::engine {

/// What handling one message needs and no stream has to keep.
struct Scratch {
  wire::RequestView view;
  wire::ReplyWriter writer;
  http::HeaderMutation mutation;
};

/// Lends a Scratch to the handling of one message: the thread's own, which stays warm from stream to stream. A second
/// one that is wanted meanwhile on the same thread is made anew.
class ScratchLease {
 public:
  ScratchLease();
  ~ScratchLease();
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;

  [[nodiscard]] Scratch& operator*() const { return *scratch_; }

 private:
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace extprocd::engine
