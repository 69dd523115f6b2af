#pragma once

#include <memory>
#include <utility>

#include <extproc/suspension.hpp>

namespace extproc {
inline namespace v1 {

/// Has a stream go on that waits, made by Stream::suspend:
///
///     return suspend([&](extproc::Resume resume) {
///       plugin().client_.look_up(key, [this, resume](std::string value) {
///         resume([this, value] {
///           current_headers().set("x-value", value);
///           return extproc::proceed();
///         });
///       });
///     });
///
/// [any-thread] Copy it, move it, keep it, call it whenever you like: a stream goes on once, and what comes late (the
/// stream or its time is over) or twice does nothing, is counted (extproc_plugin_resumes_ignored_total) and answered
/// with false. That holds when the plugin has been destroyed, too. If the last copy is gone without having resumed,
/// nobody can any more, and the plugin fails at once.
class Resume {
 public:
  /// Of no stream; resumes nothing.
  Resume() noexcept = default;
  /// Made by the SDK.
  explicit Resume(std::shared_ptr<detail::Suspension> suspension)
      : holder_(std::make_shared<Holder>(std::move(suspension))) {}

  /// Goes on with proceed(). Returns whether this is what resumed the stream.
  bool operator()() const noexcept { return holder_ != nullptr && holder_->suspension->resume(nullptr); }

  /// Goes on with what `then` returns, an Action. It runs once, as a callback of the Stream, on the stream's thread: there
  /// and not before, `this` of the Stream may be used. An exception that leaves it makes the plugin fail. It is destroyed
  /// when it has run, or when the stream or its time is over sooner; at once, by this call, if it is not taken.
  template <typename Then>
  bool operator()(Then&& then) const {
    return holder_ != nullptr && holder_->suspension->resume(detail::continuation(std::forward<Then>(then)));
  }

  /// Is the stream waiting for this still? By the time that you look at the answer, it may be over.
  bool waiting() const noexcept { return holder_ != nullptr && holder_->suspension->waiting(); }

 private:
  /// What all copies have in common, to notice that the last one is gone.
  struct Holder {
    explicit Holder(std::shared_ptr<detail::Suspension> held) noexcept : suspension(std::move(held)) {}
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    ~Holder() { suspension->drop(); }

    const std::shared_ptr<detail::Suspension> suspension;
  };

  std::shared_ptr<Holder> holder_;
};

}  // namespace v1
}  // namespace extproc
