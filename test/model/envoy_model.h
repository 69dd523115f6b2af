#pragma once

#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/model/direction_model.h"
#include "test/model/filter_settings.h"
#include "test/model/http_message.h"
#include "test/model/judgement.h"

namespace extprocd::model {

/// An HTTP exchange that passes the filter.
struct HttpExchange {
  HttpMessage request;
  HttpMessage response;
  bool local_reply = false;  ///< an earlier or later filter answers: the request goes no further
  bool upgrade = false;      ///< WebSocket: no request body before the response's headers
};

/// Envoy's ext_proc filter as the server meets it, for one HTTP exchange: a client state machine that says which
/// messages may be sent when, judges every reply, and keeps what would reach the upstream and the client. It reads
/// replies with the generated classes and knows nothing of the server's code.
///
/// Modelled after Envoy 1.40 with default mutation_rules, and after gRFC A93 for gRPC data planes. Not modelled:
/// timers, drains as API v1.40 has them (of grpc-go 1.85 there are those by request_drain), bodies over a buffer limit in
/// BUFFERED mode, retries, 1xx responses (which Envoy never sends).
class EnvoyModel {
 public:
  using ProcessingRequest = envoy::service::ext_proc::v3::ProcessingRequest;
  using ProcessingResponse = envoy::service::ext_proc::v3::ProcessingResponse;
  using ImmediateResponse = envoy::service::ext_proc::v3::ImmediateResponse;
  using StreamedImmediateResponse = envoy::service::ext_proc::v3::StreamedImmediateResponse;

  EnvoyModel(FilterSettings settings, HttpExchange exchange);
  EnvoyModel(const EnvoyModel&) = delete;
  EnvoyModel& operator=(const EnvoyModel&) = delete;

  /// Can a further part of the message come to the filter now?
  [[nodiscard]] bool can_arrive(Side side) const;
  /// The next part comes; what is sent because of it is in sent().
  void arrive(Side side);
  /// Flow control: are there bytes to be given back to the server, and doing so with a client_window_update.
  [[nodiscard]] bool can_give_back() const;
  void give_back();

  /// Messages on their way to the server, in order; the caller takes them out.
  std::deque<ProcessingRequest>& sent() { return sent_; }

  /// The next reply of the server.
  Judgement judge(const ProcessingResponse& reply);
  /// Does the filter half-close the stream, behind what it has sent? A gRPC data plane does when the server asks for a
  /// drain: what still comes waits then until the server has ended the stream, and passes by it.
  [[nodiscard]] bool half_closes() const { return draining_ && !over_; }
  /// The server ended the stream. With OK the rest passes unprocessed; with anything else the exchange fails.
  void server_ended(bool ok);

  [[nodiscard]] const Passed& passed(Side side) const { return direction(side).passed(); }
  [[nodiscard]] const DirectionModel& direction(Side side) const { return directions_[index(side)]; }
  /// The immediate response that the client gets; nothing if none came.
  [[nodiscard]] const std::optional<ImmediateResponse>& immediate() const { return immediate_; }
  /// The local reply that came in pieces, as far as it has come; nothing if none did.
  [[nodiscard]] const std::optional<Passed>& streamed_reply() const { return streamed_; }
  /// Could it go out as a whole reply? No, if response headers were on their way before it.
  [[nodiscard]] bool immediate_is_whole() const { return immediate_is_whole_; }
  [[nodiscard]] const Headers& immediate_headers() const { return immediate_headers_; }
  [[nodiscard]] bool failed() const { return failed_; }
  /// Replies that are still waited for.
  [[nodiscard]] std::vector<std::string> owed() const;
  /// Has everything arrived that can?
  [[nodiscard]] bool exhausted() const { return !can_arrive(Side::kRequest) && !can_arrive(Side::kResponse); }

 private:
  void send(Side side, ProcessingRequest message);
  Judgement judge_windows(const ProcessingResponse& reply);
  Judgement judge_extras(const ProcessingResponse& reply);
  Judgement judge_answer(const ProcessingResponse& reply);
  Judgement judge_immediate(const ImmediateResponse& reply);
  Judgement judge_streamed(const StreamedImmediateResponse& reply);
  Judgement begin_streamed(const envoy::config::core::v3::HeaderMap& headers, bool end);
  void override_mode(const ProcessingResponse& reply, bool headers_waited_for, Judgement& judgement);

  const FilterSettings settings_;
  const bool local_reply_;
  const bool upgrade_;
  std::deque<ProcessingRequest> sent_;
  std::array<DirectionModel, 2> directions_;
  bool any_sent_ = false;
  std::array<bool, 2> attributes_sent_{};
  bool windows_answered_ = false;
  bool over_ = false;
  bool failed_ = false;
  bool draining_ = false;
  std::optional<ImmediateResponse> immediate_;
  bool immediate_is_whole_ = false;
  std::optional<Passed> streamed_;
  Headers immediate_headers_;
};

}  // namespace extprocd::model
