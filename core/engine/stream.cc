#include "core/engine/stream.h"

#include <optional>
#include <string>
#include <utility>

#include "core/engine/abi_text.h"
#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

using telemetry::EndReason;
using telemetry::Limit;
using wire::MessageKind;

constexpr std::size_t kNoPhase = 6;  // the place of Metrics::messages for messages without a phase

wire::Direction direction_of(MessageKind kind) {
  switch (kind) {
    case MessageKind::kResponseHeaders:
    case MessageKind::kResponseBody:
    case MessageKind::kResponseTrailers:
      return wire::Direction::kResponse;
    default:
      return wire::Direction::kRequest;
  }
}

Part part_of(MessageKind kind) {
  switch (kind) {
    case MessageKind::kRequestBody:
    case MessageKind::kResponseBody:
      return Part::kBody;
    case MessageKind::kRequestTrailers:
    case MessageKind::kResponseTrailers:
      return Part::kTrailers;
    default:
      return Part::kHeaders;
  }
}

uint32_t phase_of(MessageKind kind) {
  switch (kind) {
    case MessageKind::kRequestBody:
      return EXTPROC_REQUEST_BODY;
    case MessageKind::kRequestTrailers:
      return EXTPROC_REQUEST_TRAILERS;
    case MessageKind::kResponseHeaders:
      return EXTPROC_RESPONSE_HEADERS;
    case MessageKind::kResponseBody:
      return EXTPROC_RESPONSE_BODY;
    case MessageKind::kResponseTrailers:
      return EXTPROC_RESPONSE_TRAILERS;
    default:
      return EXTPROC_REQUEST_HEADERS;
  }
}

uint32_t abi_mode(const std::optional<wire::BodyMode>& mode) {
  return mode ? static_cast<uint32_t>(*mode) : EXTPROC_BODY_UNKNOWN;
}

}  // namespace

Stream::Stream(std::shared_ptr<const Generation> generation, Sink& sink, const StreamFacts& facts,
               uint64_t id)
    : generation_(std::move(generation)),
      metrics_(*generation_->metrics),
      sink_(sink),
      exchange_(id, facts, generation_->config.mutation_rules),
      held_bytes_(metrics_, generation_->config.server.limits),
      outbound_(sink, metrics_) {
  exchange_.max_written = static_cast<uint32_t>(generation_->config.server.limits.max_message_size);
  metrics_.streams_started.add();
  metrics_.streams_active.begin();
}

Stream::~Stream() {
  if (state_ != State::kOver) cancelled(Cancel::kPeer);
  metrics_.streams_active.end();
}

void Stream::receive(Message message) {
  if (state_ != State::kOpen && state_ != State::kReplying) return;
  if (pending_ != nullptr) {
    finish(absl::InternalError("a message came while the stream did not read"), EndReason::kFailed);
    return;
  }
  metrics_.received_bytes.add(message.bytes().size());
  const ScratchLease scratch;
  process(message.bytes(), *scratch);
  if (pending_ != nullptr) stand_still(std::move(message));
}

void Stream::process(std::string_view message, Scratch& scratch) {
  const Clock::time_point came = sink_.now();
  const wire::RequestView& view = scratch.view;
  const auto& limits = generation_->config.server.limits;
  if (message.size() > limits.max_message_size) {
    over_limit(Limit::kMessageSize, "a message of " + std::to_string(message.size()) +
                                        " bytes; server.limits.max_message_size is " +
                                        std::to_string(limits.max_message_size));
    return;
  }
  // One more than allowed, to tell.
  if (const absl::Status parsed = scratch.view.parse(message, std::size_t{limits.max_headers} + 1);
      !parsed.ok()) {
    protocol_error(parsed);
    return;
  }
  if (!started_) started_at_ = came;
  if (const absl::Status facts = take_in_stream_facts(scratch); !facts.ok()) {
    protocol_error(facts);
    return;
  }
  if (view.attribute_count() > limits.max_headers) {
    over_limit(Limit::kAttributes, "a message with " + std::to_string(view.attribute_count()) +
                                       " attributes; server.limits.max_headers is " +
                                       std::to_string(limits.max_headers));
    return;
  }
  if (view.kind() == MessageKind::kNone) {
    metrics_.messages[kNoPhase]->add();
    return;
  }
  const Incoming incoming = this->incoming(came, scratch);
  metrics_.messages[incoming.phase]->add();
  run_phase(incoming);
  if (pending_ == nullptr) answered(incoming);
}

/// The message in `scratch`.
Stream::Incoming Stream::incoming(Clock::time_point came, Scratch& scratch) {
  const MessageKind kind = scratch.view.kind();
  return {direction_of(kind), part_of(kind), phase_of(kind), came, scratch};
}

/// A message has got all that it will get.
void Stream::answered(const Incoming& incoming) {
  // If a plugin was called, the clock has been read since.
  const auto last_return = chain_run_ ? chain_run_->last_return() : std::nullopt;
  const auto spent = (last_return >= incoming.came ? *last_return : sink_.now()) - incoming.came;
  metrics_.processing[incoming.phase]->observe(std::chrono::duration<double>(spent).count());
}

absl::Status Stream::take_in_stream_facts(Scratch& scratch) {
  if (!started_) {
    started_ = true;
    outbound_.begin(scratch);
    exchange_.grpc_data_plane = outbound_.grpc_data_plane();
    const auto& config = scratch.view.protocol_config();
    body_does_not_wait_ = config && config->send_body_without_waiting_for_header_response;
    exchange_.facts.observability = outbound_.observing() ? 1 : 0;
    exchange_.facts.request_body_mode = abi_mode(outbound_.body_mode(wire::Direction::kRequest));
    exchange_.facts.response_body_mode = abi_mode(outbound_.body_mode(wire::Direction::kResponse));
  }
  // The writer served other streams before.
  scratch.writer.set_grpc_data_plane(outbound_.grpc_data_plane());
  const auto& update = scratch.view.client_window_update();
  if (update && !outbound_.add_to_send_windows(*update, scratch)) {
    return absl::InvalidArgumentError("client_window_update: the window overflows");
  }
  return absl::OkStatus();
}

void Stream::run_phase(const Incoming& incoming) {
  const wire::RequestView& view = incoming.scratch.view;
  Side& side = this->side(incoming.direction);
  if (side.order.closed()) return;
  const bool is_body = incoming.part == Part::kBody;
  const bool end_of_stream = view.end_of_stream();
  if (const std::string_view wrong = side.order.accept(incoming.part, end_of_stream); !wrong.empty()) {
    protocol_error(absl::InvalidArgumentError(std::string(wrong)));
    return;
  }
  if (is_body && !outbound_.take_from_receive_window(incoming.direction, view.body().body.size())) {
    protocol_error(
        absl::ResourceExhaustedError("the data plane sent more body than its flow control window"));
    return;
  }
  const auto max_headers = generation_->config.server.limits.max_headers;
  if (!is_body && view.header_count() > max_headers) {
    over_limit(Limit::kHeaders, "a message with " + std::to_string(view.header_count()) +
                                    " headers; server.limits.max_headers is " + std::to_string(max_headers));
    return;
  }
  if (is_past_drain(incoming.direction)) return;
  if (state_ == State::kReplying) {
    go_on_replying(incoming);
    return;
  }

  if (chain_ == nullptr && !is_let_in(incoming)) return;
  const extproc_str slice = to_abi(view.body().body);
  if (chain_ == nullptr ? generation_->chains.wants_first_message() : chain_->phases() != 0) {
    if (!show_to_plugins(incoming, slice)) {
      over_limit(Limit::kAttributes,
                 "more attributes than " + std::to_string(wire::AttributeReader::kMaxSize) + " bytes");
      return;
    }
  }
  if (chain_ == nullptr && !choose_chain(incoming)) return;
  side.seen = true;
  side.ended = end_of_stream || incoming.part == Part::kTrailers;
  allow(incoming);
  switch (incoming.part) {
    case Part::kHeaders:
      on_headers(incoming, end_of_stream);
      break;
    case Part::kBody:
      on_body(incoming, end_of_stream);
      break;
    case Part::kTrailers:
      on_trailers(incoming);
      break;
  }
  if (state_ == State::kOpen && pending_ == nullptr) end_early();
}

/// What plugins may ask for while they have this message, beside changes.
void Stream::allow(const Incoming& incoming) {
  if (!chain_run_) return;
  const config::DataPlane& data_plane = chain_->data_plane();
  const auto mode = outbound_.body_mode(incoming.direction);
  const bool has_timer =
      !outbound_.observing() && !outbound_.grpc_data_plane() && !(mode && wire::is_duplex(*mode));
  constexpr double kMillis = 1000;
  exchange_.longest_timeout = has_timer ? static_cast<uint32_t>(data_plane.max_message_timeout * kMillis) : 0;
  exchange_.extended_timeout = 0;
  exchange_.time_asked_for = false;
  const bool no_plain_body = side(incoming.direction).ended || mode == wire::BodyMode::kNone ||
                             mode == wire::BodyMode::kFullDuplexStreamed;
  exchange_.replies_in_pieces = incoming.phase == EXTPROC_REQUEST_HEADERS && no_plain_body &&
                                data_plane.streamed_immediate_response && !outbound_.observing() &&
                                !outbound_.grpc_data_plane();
}

bool Stream::stops(PhaseResult result, const Incoming& incoming, Step step) {
  switch (result.kind) {
    case PhaseResult::Kind::kContinue:
      return false;
    case PhaseResult::Kind::kReply:
      if (result.reply->in_pieces) {
        begin_reply_in_pieces(std::move(*result.reply), incoming.scratch);
      } else {
        reply_and_stop(*result.reply, incoming.scratch);
      }
      return true;
    case PhaseResult::Kind::kFail:
      finish(result.failure, EndReason::kFailed);
      return true;
    case PhaseResult::Kind::kWait:
      wait_for_plugin(incoming, step);
      return true;
  }
  return true;
}

void Stream::on_headers(const Incoming& incoming, bool end_of_stream) {
  side(incoming.direction).no_body = end_of_stream;
  if (chain_->phases() != 0) {
    if (!end_of_stream && stops(judge_body_access(incoming), incoming, Step::kHeaders)) return;
    const uint32_t flags = end_of_stream ? EXTPROC_END_OF_STREAM : 0;
    if (stops(chain_run_->run(incoming.phase, flags), incoming, Step::kHeaders)) return;
  }
  answer_headers(incoming, end_of_stream);
}

void Stream::answer_headers(const Incoming& incoming, bool end_of_stream) {
  std::optional<wire::ModeOverride> modes;
  if (chain_->phases() != 0) {
    ask_for_time(incoming.scratch);
    if (headers_can_wait(incoming, end_of_stream)) {
      outbound_.hold_headers(incoming.direction, incoming.scratch);
      if (incoming.direction == wire::Direction::kResponse) response_ = Response::kHeld;
      return;
    }
    if (chain_->data_plane().allow_mode_override) modes = choose_modes(incoming);
  }
  send_headers(incoming.direction, end_of_stream, incoming.scratch, modes);
}

void Stream::send_headers(wire::Direction direction, bool end_of_stream, Scratch& scratch,
                          std::optional<wire::ModeOverride> mode_override) {
  const auto mode = outbound_.body_mode(direction);
  Outbound::HeaderAnswer answer;
  answer.mode_override = mode_override;
  if (direction == wire::Direction::kRequest && may_drain(/*with_request_headers=*/true))
    drains_ = answer.request_drain = true;
  if (!end_of_stream && chain_->body_access(direction) > EXTPROC_ACCESS_OBSERVE &&
      mode != wire::BodyMode::kBuffered) {
    // Headers that waited for the body: who changed it may have finished since.
    answer.body_may_change =
        outbound_.headers_held(direction) || chain_run_->body_need(direction) > EXTPROC_ACCESS_OBSERVE;
  }
  const bool replaced = exchange_.replacement_body != nullptr;
  outbound_.headers(direction, exchange_, answer, scratch);
  exchange_.replacement_body.reset();
  if (replaced) {
    side(direction).order.close();
    side(direction).ended = true;
  }
  if (direction == wire::Direction::kResponse) {
    const bool streamed = mode == wire::BodyMode::kNone || mode == wire::BodyMode::kStreamed ||
                          (mode && wire::is_duplex(*mode));
    response_ = end_of_stream || streamed || replaced ? Response::kReleased : Response::kHeld;
  }
}

void Stream::ask_for_time(Scratch& scratch) {
  if (exchange_.extended_timeout == 0) return;
  exchange_.time_asked_for = true;
  outbound_.extend_timeout(std::exchange(exchange_.extended_timeout, 0), scratch);
  metrics_.timeouts_extended.add();
}

/// False: more attributes than a stream may have.
bool Stream::show_to_plugins(const Incoming& incoming, const extproc_str& slice) {
  const wire::RequestView& view = incoming.scratch.view;
  if (incoming.part == Part::kBody) {
    exchange_.body = {&slice, 1};
  } else {
    exchange_.keep_headers(incoming.phase, view);
  }
  if (!exchange_.attributes.add(view.attributes())) return false;
  exchange_.metadata.update(view.metadata_context());
  exchange_.reply_possible = reply_possible(incoming.direction, incoming.part);
  return true;
}

/// Gives the stream its chain, by what its first message says. False: the stream is over.
bool Stream::choose_chain(const Incoming& incoming) {
  const ChainTable::Entry* entry = generation_->chains.choose(exchange_);
  if (entry == nullptr) on_unknown_chain(incoming);
  if (state_ != State::kOpen) return false;
  if (entry != nullptr && entry->streams != nullptr) entry->streams->add();
  begin_chain(entry != nullptr ? *entry->chain : no_chain());
  return true;
}

/// Where everything passes.
const Chain& Stream::no_chain() {
  static const Chain none("none");
  return none;
}

void Stream::begin_chain(const Chain& chain) {
  chain_ = &chain;
  exchange_.set_chain(chain_->name());
  assume_stated_modes();
  may_override_modes_ = may_override_modes();
  Suspensions::Waiter& waiter = *this;
  chain_run_.emplace(*chain_, exchange_, held_bytes_, sink_, waiter, generation_);
}

void Stream::on_unknown_chain(const Incoming& incoming) {
  metrics_.unknown_chains.add();
  const std::string text = generation_->chains.report_unknown(exchange_);
  const config::Chains& rule = generation_->config.chains;
  const bool deny =
      rule.on_unknown == config::FailurePolicy::kDeny && reply_possible(incoming.direction, incoming.part);
  if (rule.on_unknown == config::FailurePolicy::kSkip) return;
  if (deny) {
    deny_and_stop(rule.deny_status, "extproc_unknown_chain", incoming.scratch);
    return;
  }
  finish(absl::NotFoundError(text), EndReason::kFailed);
}

bool Stream::reply_possible(wire::Direction direction, Part part) const {
  if (response_ != Response::kHeld && response_ != Response::kNotSeen) return false;
  if (direction == wire::Direction::kRequest || part == Part::kHeaders) return true;
  // Envoy holds the response's headers for a buffered body only if it sent them here too.
  return part == Part::kBody && response_ == Response::kHeld;
}

void Stream::reply_and_stop(const LocalReply& reply, Scratch& scratch) {
  exchange_.local_reply_status = reply.status;
  if (outbound_.observing()) {
    finish(absl::OkStatus(), EndReason::kReplied);
    return;
  }
  outbound_.immediate(reply, exchange_, scratch);
  stop_after_reply();
}

/// A local reply of the host.
void Stream::deny_and_stop(uint32_t status, std::string details, Scratch& scratch) {
  LocalReply reply;
  reply.status = status;
  reply.details = std::move(details);
  exchange_.map(EXTPROC_LOCAL_REPLY)
      ->add_original(":status", exchange_.arena.copy(std::to_string(status)), exchange_.arena);
  reply_and_stop(reply, scratch);
}

/// The local reply is complete: nothing may be sent behind it.
void Stream::stop_after_reply() {
  state_ = State::kReplied;
  end_plugins(EndReason::kReplied, absl::OkStatus());
}

void Stream::protocol_error(const absl::Status& status) {
  metrics_.protocol_errors.add();
  finish(status, EndReason::kProtocol);
}

void Stream::over_limit(Limit limit, const std::string& text) {
  metrics_.limits[static_cast<std::size_t>(limit)]->add();
  protocol_error(absl::ResourceExhaustedError(text));
}

void Stream::finish(const absl::Status& status, EndReason reason) {
  state_ = State::kOver;
  forget_pending();
  // A shadow must never hurt traffic: to Envoy any other end is a failed request, in observability mode too.
  const absl::Status sent = outbound_.observing() ? absl::OkStatus() : status;
  end_plugins(reason, sent);
  sink_.finish(sent);
}

void Stream::end_plugins(EndReason reason, const absl::Status& status) {
  if (std::exchange(plugins_ended_, true)) return;
  metrics_.streams_ended[static_cast<std::size_t>(reason)]->add();
  exchange_.reply_possible = false;
  if (!chain_run_) return;
  chain_run_->end(static_cast<uint32_t>(reason), static_cast<uint32_t>(status.code()),
                  sink_.now() - started_at_);
}

void Stream::half_closed() {
  if (state_ == State::kOver) return;
  if (outbound_.has_waiting()) {
    const ScratchLease scratch;
    (*scratch).writer.set_grpc_data_plane(outbound_.grpc_data_plane());
    outbound_.send_held(*scratch);
  }
  finish(absl::OkStatus(), EndReason::kCompleted);
}

void Stream::cancelled(Cancel by) {
  if (state_ == State::kOver) return;
  state_ = State::kOver;
  forget_pending();
  end_plugins(by == Cancel::kShutdown ? EndReason::kShutdown : EndReason::kCancelled, absl::CancelledError());
}

}  // namespace extprocd::engine
