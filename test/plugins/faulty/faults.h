#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "instance.h"
#include <extproc/abi.h>

namespace faulty {

struct Fault;

/// Of a stream, in the host's memory; nothing in it needs a destructor.
struct State {
  const Fault* fault = nullptr;
  uint32_t phase = 0;
  std::chrono::milliseconds time{};
  extproc_resume_handle handle = 0;  ///< of the last suspension
  bool waiting = false;
  bool began = false;  ///< the fault has
};

/// One callback.
struct Turn {
  Instance& instance;
  State& state;
  extproc_call* call;
  uint32_t phase;
  uint32_t flags;

  [[nodiscard]] const Host& host() const { return instance.host; }
  [[nodiscard]] bool in_body() const {
    return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY;
  }
  void wrong(std::string_view what) const { instance.count_wrong(what); }
};

/// A way to misbehave, or to behave well where that is hard.
struct Fault {
  std::string_view name;
  /// In on_phase of its phase, once a stream.
  extproc_action (*begin)(Turn& turn);
  /// In on_resumed.
  extproc_action (*resumed)(Turn& turn);
  /// In on_cancelled.
  void (*cancelled)(const Turn& turn) = nullptr;
  /// In stream_end.
  void (*ended)(const Turn& turn) = nullptr;
};

/// Null if there is none of that name.
const Fault* find_fault(std::string_view name);

}  // namespace faulty
