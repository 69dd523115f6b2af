#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <extproc/host.hpp>
#include <extproc/resume.hpp>

namespace extproc {
inline namespace v1 {

/// Why a suspension came to nothing, see Stream::on_cancelled.
enum class CancelReason : std::uint32_t {
  kStreamOver = EXTPROC_CANCEL_STREAM_OVER,  ///< on_end follows
  kTimeout = EXTPROC_CANCEL_TIMEOUT,         ///< the plugin's on_error policy decides now
};

namespace detail {

/// A coroutine that a Stream runs, without a word of C++20.
class Routine {
 public:
  Routine() = default;
  Routine(const Routine&) = delete;
  Routine& operator=(const Routine&) = delete;
  virtual ~Routine() = default;
  /// Runs until it ends or waits. Nothing: it waits.
  virtual std::optional<Action> go_on() = 0;
};

/// What one Stream waits for. [stream]
class Waiting {
 public:
  Waiting(const Host* host, extproc_call* call) noexcept : host_(host), call_(call) {}
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() { end(); }

  /// The callback that runs now; null when it has returned.
  extproc_call* call() const noexcept { return call_; }
  void set_call(extproc_call* call) noexcept { call_ = call; }
  const Host& host() const noexcept { return *host_; }
  bool suspended() const noexcept { return suspension_ != nullptr; }

  Status try_suspend(Resume& resume) {
    if (host_->async_host()->table() == nullptr) return Status::kUnsupported;
    auto suspension = std::make_shared<Suspension>(host_->async_host());
    const Status status = suspension->begin(call_);
    if (status != Status::kOk) return status;
    suspension_ = std::move(suspension);
    resume = Resume(suspension_);
    return status;
  }
  Resume suspend() {
    Resume resume;
    check("suspend", try_suspend(resume));
    return resume;
  }

  /// After suspend() in the same callback.
  void resume_after(std::uint64_t nanoseconds, std::unique_ptr<Continuation> then) {
    if (!suspended()) throw Refused(Status::kInvalid, "resume_after", "call suspend() first");
    check("resume_after", suspension_->resume_after(call_, nanoseconds, std::move(then)));
  }

  /// Runs a coroutine, and keeps it if it waits.
  Action run(std::unique_ptr<Routine> routine) {
    std::optional<Action> action = routine->go_on();
    if (action.has_value()) return std::move(*action);
    routine_ = std::move(routine);
    return wait();
  }

  /// The suspension has ended: what comes next.
  Action go_on(std::uint64_t token) {
    const std::shared_ptr<Suspension> over = std::move(suspension_);
    std::unique_ptr<Routine> routine = std::move(routine_);
    const std::unique_ptr<Continuation> then = over == nullptr ? nullptr : over->end(token);
    if (token == Suspension::kDropped) {
      return fail(GrpcCode::kInternal, "it waited, and gave up its last Resume without resuming");
    }
    if (then != nullptr) return then->run();
    return routine == nullptr ? proceed() : run(std::move(routine));
  }

  /// Nothing is waited for any more.
  void end() noexcept {
    if (const std::shared_ptr<Suspension> over = std::move(suspension_)) over->end(Suspension::kDropped);
    routine_ = nullptr;
  }

 private:
  void check(std::string_view what, Status status) const {
    if (status == Status::kOk) return;
    const extproc_host* table = host_->table();
    if (host_->async_host()->table() == nullptr) throw too_old(what, table);
    detail::check(status, what, table, call_);
  }

  const Host* host_;
  extproc_call* call_;
  std::shared_ptr<Suspension> suspension_;
  std::unique_ptr<Routine> routine_;
};

}  // namespace detail
}  // namespace v1
}  // namespace extproc
