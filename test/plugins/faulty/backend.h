#pragma once

#include <cstdint>
#include <deque>
#include <mutex>

#include "host.h"
#include "later.h"
#include <extproc/abi.h>

namespace faulty {

/// What streams wait for as they would for a database: it does one thing after the other, and is as slow as it is. Whom
/// nobody waits for any more costs it nothing. Thread-safe.
class Backend {
 public:
  /// `host` and `later` outlive it; it is not called by `later` any more when that is gone.
  Backend(const Host& host, Later& later, uint64_t per_second)
      : host_(host), later_(later), per_second_(per_second) {}

  /// Has the handle resumed when it has come to it.
  void ask(extproc_resume_handle handle);

 private:
  void work();

  const Host& host_;
  Later& later_;
  const uint64_t per_second_;
  std::mutex mutex_;
  std::deque<extproc_resume_handle> queue_;
  bool busy_ = false;
  Later::Clock::time_point next_;  // when it is done with what it does
};

}  // namespace faulty
