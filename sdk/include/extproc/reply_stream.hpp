#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <extproc/host.hpp>

namespace extproc {
inline namespace v1 {

/// A local reply that is written in pieces, made by Stream::begin_reply in on_request_headers and returned
/// from there; later callbacks get it from Stream::reply_stream.
///
///     extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
///       return begin_reply(extproc::reply(200, "you sent: ").header("content-type", "text/plain"));
///     }
///     extproc::Action on_request_body(const extproc::Body& body, extproc::EndOfStream) override {
///       reply_stream().write(body.view());
///       return extproc::proceed();
///     }
///
/// The request's body still comes, to this plugin alone, and goes nowhere. When it has ended, the reply ends
/// too, if end() has not been called. A data plane that takes no replies in pieces gets it as one, when it is
/// complete.
///
/// [stream]: use it only inside the callback in which you got it. What is handed in is copied.
class ReplyStream {
 public:
  using Trailers = std::vector<std::pair<std::string_view, std::string_view>>;

  /// Made by the SDK.
  ReplyStream(const Host& host, extproc_call* call) noexcept : host_(&host), call_(call) {}

  /// One more piece of the reply's body. Throws Refused: kLimit where the server has to gather more than it
  /// may hold, kTooLate after the end.
  void write(std::string_view bytes) { check("write to the reply", try_write(bytes)); }
  Status try_write(std::string_view bytes) noexcept {
    const extproc_streamed_reply_api* api = host_->streamed_reply_table();
    if (api == nullptr) return Status::kUnsupported;
    return detail::to_status(api->write(call_, detail::to_abi(bytes)));
  }

  /// Ends the reply, with trailers if there are any. kUnsupported: it ended, but without the trailers, which
  /// a reply that is sent as one cannot have.
  void end(const Trailers& trailers = {}) { check("end the reply", try_end(trailers)); }
  Status try_end(const Trailers& trailers = {}) {
    const extproc_streamed_reply_api* api = host_->streamed_reply_table();
    if (api == nullptr) return Status::kUnsupported;
    std::vector<extproc_header> entries;
    entries.reserve(trailers.size());
    for (const auto& [name, value] : trailers)
      entries.push_back({detail::to_abi(name), detail::to_abi(value)});
    return detail::to_status(api->end(call_, entries.data(), entries.size()));
  }

 private:
  void check(std::string_view what, Status status) const {
    if (status != Status::kOk) detail::check(status, what, host_->table(), call_);
  }

  const Host* host_;
  extproc_call* call_;
};

}  // namespace v1
}  // namespace extproc
