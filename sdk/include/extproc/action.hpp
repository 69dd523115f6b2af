#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {

/// An immediate response: the data plane answers the client itself, with this, and processing ends. Made by
/// reply():
///
///     return extproc::reply(403, "no\n").header("x-reason", "quota").details("quota_exceeded");
class Reply {
 public:
  /// `status` is an HTTP status, 200 to 599.
  explicit Reply(std::uint32_t status, std::string body = {}) : status_(status), body_(std::move(body)) {}

  /// Sets a header; a name that is given twice is sent twice.
  Reply& header(std::string name, std::string value) & {
    headers_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  /// For the data plane's access log (%RESPONSE_CODE_DETAILS%).
  Reply& details(std::string text) & {
    details_ = std::move(text);
    return *this;
  }
  /// The gRPC status that gRPC clients get.
  Reply& grpc_status(GrpcCode code) & {
    grpc_status_ = static_cast<std::int32_t>(code);
    return *this;
  }
  Reply&& header(std::string name, std::string value) && {
    return std::move(header(std::move(name), std::move(value)));
  }
  Reply&& details(std::string text) && { return std::move(details(std::move(text))); }
  Reply&& grpc_status(GrpcCode code) && { return std::move(grpc_status(code)); }

  /// Hands the reply to a function of the host, which copies it. Called by the SDK.
  Status give(extproc_status (*take)(extproc_call*, const extproc_reply*), extproc_call* call) const {
    std::vector<extproc_header> entries;
    entries.reserve(headers_.size());
    for (const auto& [name, value] : headers_)
      entries.push_back({detail::to_abi(name), detail::to_abi(value)});
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = status_;
    reply.headers = entries.data();
    reply.headers_count = entries.size();
    reply.body = detail::to_abi(body_);
    reply.details = detail::to_abi(details_);
    reply.grpc_status = grpc_status_;
    return detail::to_status(take(call, &reply));
  }

 private:
  std::uint32_t status_;
  std::string body_;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::string details_;
  std::int32_t grpc_status_ = -1;
};

class ReplyStream;

/// What a callback returns: made by proceed(), reply(), fail(), finish(), hold(), wait() and
/// Stream::begin_reply.
class [[nodiscard]] Action {
 public:
  /// A Reply is an Action: `return extproc::reply(404);`
  Action(Reply reply) : kind_(EXTPROC_REPLY), reply_(std::make_unique<Reply>(std::move(reply))) {}
  /// So is a reply in pieces that has begun: `return begin_reply(extproc::reply(200));`
  Action(const ReplyStream& /*begun*/) noexcept : kind_(EXTPROC_REPLY) {}

  /// Tells the host what was decided; returns what the C callback returns. Called by the SDK.
  extproc_action take(const extproc_host* host, extproc_call* call) const {
    if (kind_ == EXTPROC_FAIL) host->fail(call, static_cast<std::uint32_t>(code_), detail::to_abi(text_));
    if (reply_ != nullptr) detail::check(reply_->give(host->reply, call), "immediate response", host, call);
    if (kind_ == EXTPROC_HOLD && host->abi_minor < 1) throw detail::too_old("hold", host);
    return kind_;
  }

 private:
  explicit Action(extproc_action kind) noexcept : kind_(kind) {}
  Action(GrpcCode code, std::string text) noexcept
      : kind_(EXTPROC_FAIL), code_(code), text_(std::move(text)) {}

  friend Action proceed() noexcept;
  friend Action finish() noexcept;
  friend Action hold() noexcept;
  friend Action wait() noexcept;
  friend Action fail(GrpcCode code, std::string text) noexcept;

  extproc_action kind_;
  GrpcCode code_ = GrpcCode::kUnknown;
  std::string text_;
  std::unique_ptr<Reply> reply_;
};

/// Go on, with the edits made so far.
inline Action proceed() noexcept { return Action(EXTPROC_CONTINUE); }

/// Answer now with an immediate response: no later plugin sees this phase, no later phase comes. If it can no
/// longer be sent (kTooLate: response headers are on their way), or is malformed, the plugin fails.
inline Reply reply(std::uint32_t status, std::string body = {}) { return Reply(status, std::move(body)); }

/// The plugin failed: its on_error policy decides. `text` is for the operator, cut at 1 KiB.
inline Action fail(GrpcCode code, std::string text) noexcept { return {code, std::move(text)}; }

/// Go on, with the edits made so far, and call this plugin no more on this stream but for on_end.
inline Action finish() noexcept { return Action(EXTPROC_FINISH); }

/// In a body phase, with BodyAccess::kStream and while the body has not ended: keep what was neither forwarded
/// nor dropped; it stands before the next piece.
///
/// In a headers phase: let the headers wait for the body, so that they can still be changed in its callbacks,
/// see Stream::held_request_headers; until a body callback returns anything else, or the body ends. Where no
/// body follows, or the data plane sends none before it has got its headers back, it is as proceed().
inline Action hold() noexcept { return Action(EXTPROC_HOLD); }

/// The answer comes later, by the Resume that Stream::suspend gave in this callback.
inline Action wait() noexcept { return Action(EXTPROC_SUSPEND); }

}  // namespace v1
}  // namespace extproc
