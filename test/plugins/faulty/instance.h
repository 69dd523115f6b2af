#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "backend.h"
#include "host.h"
#include "later.h"
#include <extproc/abi.h>

namespace faulty {

struct Fault;

/// The phase of a name; EXTPROC_LOCAL_REPLY if there is none.
uint32_t phase_of(std::string_view name);

/// What all streams of one [[plugin]] share. Throws where its configuration is wrong.
struct Instance {
  explicit Instance(const extproc_host& table);

  /// Something that the contract rules out has happened.
  void count_wrong(std::string_view what) const;

  Host host;
  const Fault* fault = nullptr;    ///< of streams that do not name another; null: none
  uint32_t phase;                  ///< in which it comes
  std::chrono::milliseconds time;  ///< how long it takes, if it takes any
  std::string mark;                ///< the header that it sets where it passes; empty: none
  // The plugin is a witness as well: what it was told, and what it should not have been.
  extproc_metric* begun;
  extproc_metric* ended;
  extproc_metric* suspended;
  extproc_metric* resumed;
  extproc_metric* cancelled_over;
  extproc_metric* cancelled_timeout;
  extproc_metric* wrong;
  Backend backend;
  Later later;  // last: its thread uses the others
};

}  // namespace faulty
