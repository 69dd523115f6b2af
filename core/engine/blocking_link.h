#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>

#include <extproc/abi.h>

#include "core/engine/call.h"
#include "core/engine/chain.h"
#include "core/engine/exchange.h"
#include "core/engine/seam.h"
#include "core/engine/suspensions.h"
#include "core/http/arena.h"

namespace extprocd::engine {

/// A plugin that may block, on one stream: its callbacks, one after the other, on workers, and what they share: the
/// per-stream state and the facts. It lives until the last of them has returned, however long the stream is over.
class BlockingLink : public std::enable_shared_from_this<BlockingLink> {
 public:
  using Task = std::move_only_function<void(BlockingLink&)>;

  /// `link` is of the generation that each post() keeps alive. `facts` are copied.
  BlockingLink(const ChainLink& link, const extproc_stream_facts& facts);
  BlockingLink(const BlockingLink&) = delete;
  BlockingLink& operator=(const BlockingLink&) = delete;

  // On the stream's thread.

  /// What is known of body modes by now; while no callback runs.
  void update(const extproc_stream_facts& facts);
  /// Has a worker do this when it has done what was posted before. `generation` is kept until then. False: the pool is
  /// full, and nothing is done; never if `always`.
  [[nodiscard]] bool post(Task task, std::shared_ptr<const void> generation, bool always);

  /// Valid as long as this.
  [[nodiscard]] const extproc_stream_facts& facts() const { return facts_; }
  [[nodiscard]] const ChainLink& link() const { return link_; }

  // On a worker, in a task.

  /// Calls stream_begin, the first time. False: it failed.
  [[nodiscard]] bool begin(extproc_call& call);
  /// Makes on_phase or on_resumed, and adds the time that it takes to the plugin's.
  extproc_action run(extproc_call& call, uint32_t flags, const uint64_t* token);
  /// Calls on_cancelled.
  void tell_cancelled(Exchange& exchange, uint32_t phase, uint32_t reason);
  /// Calls stream_end, if the plugin has begun.
  void end(Exchange& exchange, extproc_stream_end info);
  [[nodiscard]] Duration spent() const { return spent_; }

 private:
  struct FreeState {
    void operator()(std::byte* memory) const {
      ::operator delete(memory, std::align_val_t{Chain::kStateAlign});
    }
  };

  void do_tasks();
  [[nodiscard]] void* state() const { return state_.get(); }

  const ChainLink& link_;
  http::Arena arena_;  // of the facts
  extproc_stream_facts facts_;
  std::unique_ptr<std::byte, FreeState> state_;
  bool begun_ = false;
  Duration spent_{0};

  std::mutex mutex_;
  std::deque<Task> tasks_;
  bool busy_ = false;  // a worker does them, or will
};

/// One callback of such a plugin in a phase, with all that it reads and changes, so that it may go on when the stream
/// does not wait for it any more.
class BlockingCall final : public CallSite {
 public:
  using Handle = Suspensions::Handle;

  /// `of_stream` is the call as it would be made on the stream's thread; what it holds of a body must be owned. `token`:
  /// with which on_resumed is called; null: on_phase is.
  BlockingCall(const extproc_call& of_stream, const BlockingLink& link, uint32_t flags, const uint64_t* token,
               Clock::time_point now);

  /// How the stream hears that it has returned, and how it suspends. Before it runs.
  void reports_to(Handle handle, std::shared_ptr<Executor> executor, Suspensions::Waiter& waiter);

  /// On a worker: makes the callback, and resumes the stream that waits for it. Does nothing if it was given up before.
  void run(BlockingLink& link);

  /// The stream does not wait any more, for this reason (EXTPROC_CANCEL_*): nothing of the callback counts. True: it has
  /// not returned yet, and sees to its own suspension then. Else it has, and the caller does.
  [[nodiscard]] bool give_up(uint32_t reason);
  /// Has it returned while the stream waited for it? Then nobody else touches what follows.
  [[nodiscard]] bool has_returned() const {
    return state_.load(std::memory_order_acquire) == State::kReturned;
  }

  Exchange exchange;
  std::optional<BodyEdit> edit;  ///< in a body phase
  extproc_call call;
  extproc_action action = EXTPROC_FAIL;
  bool has_begun = false;      ///< stream_begin was called before, or did not fail
  Duration spent{0};           ///< inside on_phase or on_resumed
  Clock::time_point returned;  ///< by the stream's time

 private:
  enum class State : uint8_t { kOpen, kReturned, kTimedOut, kStreamOver };

  Handle open_suspension(const ChainLink& link) override;
  [[nodiscard]] Clock::time_point now() const override;
  void clean_up(BlockingLink& link, State why);
  void tell_cancelled(BlockingLink& link, State why);

  const uint32_t flags_;
  const std::optional<uint64_t> token_;
  const Clock::time_point stream_time_;  // by the stream's clock, which is not for other threads
  const Clock::time_point made_ = Clock::now();
  Handle handle_ = 0;
  std::shared_ptr<Executor> executor_;
  Suspensions::Waiter* waiter_ = nullptr;
  std::atomic<State> state_{State::kOpen};
};

}  // namespace extprocd::engine
