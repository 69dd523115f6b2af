#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include <extproc/headers.hpp>

namespace extproc {
inline namespace v1 {

/// How the data plane sends a body (ProcessingMode.BodySendMode).
enum class BodyMode : std::uint32_t {
  kNone = EXTPROC_BODY_NONE,
  kStreamed = EXTPROC_BODY_STREAMED,
  kBuffered = EXTPROC_BODY_BUFFERED,
  kBufferedPartial = EXTPROC_BODY_BUFFERED_PARTIAL,
  kFullDuplexStreamed = EXTPROC_BODY_FULL_DUPLEX_STREAMED,
  kGrpc = EXTPROC_BODY_GRPC,
  kUnknown = EXTPROC_BODY_UNKNOWN,  ///< the data plane did not say: Envoy before 1.34, or observability mode
};

/// What is known of a stream when a plugin first meets it. Valid, with all that it hands out, until on_end
/// returns.
class StreamFacts {
 public:
  /// Made by the SDK.
  explicit StreamFacts(const extproc_stream_facts* facts) noexcept : facts_(facts) {}

  /// Unique in this process; also in the stream's log lines.
  std::uint64_t id() const noexcept { return facts_->id; }
  /// Address of the data plane, as gRPC writes it.
  std::string_view peer() const noexcept { return detail::from_abi(facts_->peer); }
  /// Name of the chain that runs.
  std::string_view chain() const noexcept { return detail::from_abi(facts_->chain); }
  BodyMode request_body_mode() const noexcept { return static_cast<BodyMode>(facts_->request_body_mode); }
  BodyMode response_body_mode() const noexcept { return static_cast<BodyMode>(facts_->response_body_mode); }
  /// True in a shadow deployment: replies and mutations act only inside the chain, nothing reaches the
  /// traffic.
  bool observability() const noexcept { return facts_->observability != 0; }

  /// gRPC initial metadata of the data plane's call.
  HeaderRange grpc_metadata() const noexcept { return {facts_->metadata, facts_->metadata_count}; }
  /// The first value of one name in it, matched without regard to ASCII case.
  std::optional<std::string_view> grpc_metadata(std::string_view name) const noexcept {
    for (const Header entry : grpc_metadata()) {
      if (detail::same_name(entry.name, name)) return entry.value;
    }
    return std::nullopt;
  }

 private:
  const extproc_stream_facts* facts_;
};

enum class EndReason : std::uint32_t {
  kCompleted = EXTPROC_END_COMPLETED,  ///< the data plane closed the stream, or nothing more was to come
  kCancelled =
      EXTPROC_END_CANCELLED,  ///< reset by the data plane: Envoy does so with most streams, it is no error
  kReplied = EXTPROC_END_REPLIED,    ///< an immediate response was sent
  kFailed = EXTPROC_END_FAILED,      ///< a plugin failed and its policy ended the stream
  kProtocol = EXTPROC_END_PROTOCOL,  ///< the data plane broke the protocol
  kShutdown = EXTPROC_END_SHUTDOWN,  ///< the server's drain deadline passed
};

/// How a stream ended. Valid during on_end.
class StreamEnd {
 public:
  /// Made by the SDK.
  explicit StreamEnd(const extproc_stream_end* end) noexcept : end_(end) {}

  EndReason reason() const noexcept { return static_cast<EndReason>(end_->reason); }
  /// The gRPC status that the stream ended with.
  GrpcCode grpc_status() const noexcept { return static_cast<GrpcCode>(end_->grpc_status); }
  /// HTTP status of the response, or of the local reply; 0 if unknown.
  std::uint32_t response_status() const noexcept { return end_->response_status; }
  /// From the first message to the end of the stream.
  std::chrono::nanoseconds duration() const noexcept { return nanoseconds(end_->duration_ns); }
  /// Spent inside this plugin's callbacks.
  std::chrono::nanoseconds plugin_duration() const noexcept { return nanoseconds(end_->plugin_duration_ns); }

 private:
  static std::chrono::nanoseconds nanoseconds(std::uint64_t count) noexcept {
    return std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(count));
  }

  const extproc_stream_end* end_;
};

}  // namespace v1
}  // namespace extproc
