#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <extproc/abi.h>

#include "core/engine/chain.h"
#include "core/engine/exchange.h"
#include "core/engine/seam.h"
#include "core/http/body_buffer.h"

namespace extprocd::engine {

class BlockingCall;

/// Who makes a callback, for what suspends it.
class CallSite {
 public:
  /// A handle for a callback to wait with; 0 if there is no thread to come back to.
  virtual extproc_resume_handle open_suspension(const ChainLink& link) = 0;
  /// The stream's time.
  [[nodiscard]] virtual Clock::time_point now() const = 0;

 protected:
  ~CallSite() = default;
};

/// When a plugin that waits is to be resumed by itself.
struct ResumeTimer {
  Clock::time_point at;
  uint64_t token;
};

/// The changes of one body callback. What it was given stays as it is until the callback has returned.
struct BodyEdit {
  explicit BodyEdit(http::BodyBuffer given) : in(std::move(given)), out(in.of_messages()) {}

  http::BodyBuffer in;
  http::BodyBuffer::Place at;  ///< before it all has been forwarded or dropped
  http::BodyBuffer out;        ///< what goes on
  uint64_t written = 0;        ///< bytes of the plugin's own
  bool edited = false;         ///< something else than forwarding
};

}  // namespace extprocd::engine

/// One callback in flight: what a plugin's host calls act on. Lives on the stack of the thread that makes the
/// callback, or in a BlockingCall.
struct extproc_call {
  extproc_call(extprocd::engine::Exchange& of_exchange, const extprocd::engine::ChainLink& of_link,
               uint32_t in_phase)
      : exchange(of_exchange), link(of_link), phase(in_phase) {}

  extprocd::engine::Exchange& exchange;
  const extprocd::engine::ChainLink& link;
  uint32_t phase;                              ///< EXTPROC_*
  bool may_edit = false;                       ///< false in stream_begin and stream_end
  uint32_t unwanted = 0;                       ///< phases that skip() was called for
  bool replies_in_pieces = false;              ///< a piece of the request's body, for the plugin that replies
  extprocd::engine::BodyEdit* body = nullptr;  ///< null where the body cannot be changed
  extprocd::engine::BodyEdit* given = nullptr;  ///< of a body phase, whether it can be changed or not
  const extproc_stream_facts* facts = &exchange.facts;
  extprocd::engine::CallSite* site = nullptr;  ///< not null where may_edit is set
  extproc_resume_handle suspension = 0;        ///< that suspend() gave; 0: none
  std::optional<extprocd::engine::ResumeTimer> timer;
  std::shared_ptr<extprocd::engine::BlockingCall>
      blocking;                               ///< it goes on on a worker, and `suspension` waits for that
  extprocd::engine::Clock::time_point began;  ///< when the plugin was first called for the phase

  std::string_view last_error;  ///< text of the last refusal: static, or in the exchange's arena
  std::optional<extprocd::engine::LocalReply> reply;
  uint32_t failure_code = 2;  ///< gRPC UNKNOWN
  std::string failure_text;
  bool blameless = false;  ///< the failure is not the plugin's doing, and does not count for its quarantine
};

namespace extprocd::engine {

/// Fills in the functions of the core table that act on a call.
void set_call_functions(extproc_host& table);
void set_reply_function(extproc_host& table);

/// The tables of the extensions that act on a call.
const extproc_metadata_api& metadata_extension();
const extproc_metadata_api_2& metadata_extension_2();
const extproc_store_api& store_extension();
const extproc_body_api& body_extension();
const extproc_control_api& control_extension();
const extproc_streamed_reply_api& streamed_reply_extension();
const extproc_async_api& async_extension();

/// The table of the extension that a plugin uses at any time.
const extproc_work_api& work_extension();

/// The tables of the extensions that a plugin uses while it is created.
const extproc_config_api& config_extension();
const extproc_metrics_api& metrics_extension();

}  // namespace extprocd::engine
