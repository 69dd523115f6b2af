#include "test/model/conversation.h"

#include <algorithm>
#include <utility>

namespace extprocd::model {
namespace {

std::string name_of(Side side) { return side == Side::kRequest ? "request" : "response"; }

}  // namespace

Conversation::Conversation(const Case& a_case, PlannedChain& chain, std::uint64_t id, Coverage& coverage)
    : case_(a_case),
      random_(a_case.schedule),
      coverage_(coverage),
      model_(a_case.settings, a_case.exchange),
      stream_(chain, id, a_case.settings.windows.has_value(), coverage) {}

bool Conversation::step() {
  if (!wrong().empty() || cut_off_ || cut()) return false;
  end_of_server();
  const auto arrives = [&](Side side) { return model_.can_arrive(side); };
  const bool request = arrives(Side::kRequest);
  const bool response = arrives(Side::kResponse);
  const bool gives_back = !stream_.status() && model_.can_give_back();
  const bool reads = !model_.sent().empty() && !stream_.waits();
  const std::size_t choices[] = {request ? 2U : 0U,    response ? 2U : 0U,
                                 reads ? 3U : 0U,      stream_.replies().empty() ? 0U : 3U,
                                 gives_back ? 1U : 0U, stream_.weight()};
  std::size_t sum = 0;
  for (const std::size_t weight : choices) sum += weight;
  if (sum == 0 && stream_.waits()) {
    coverage_.saw("nobody came for who waits");
    cut_off_ = true;
    stream_.cancel(engine::Cancel::kPeer);
  }
  if (sum == 0) return false;
  ++happened_;
  std::size_t choice = 0;
  for (std::size_t drawn = random_.below(sum); drawn >= choices[choice]; ++choice) drawn -= choices[choice];
  switch (choice) {
    case 0:
      model_.arrive(Side::kRequest);
      break;
    case 1:
      model_.arrive(Side::kResponse);
      break;
    case 2:
      deliver_message();
      break;
    case 3:
      deliver_reply();
      break;
    case 4:
      coverage_.saw("window given back");
      model_.give_back();
      break;
    default:
      stream_.happen(random_);
  }
  return wrong().empty();
}

void Conversation::deliver_message() {
  messages_.push_back(model_.sent().front().SerializeAsString());
  model_.sent().pop_front();
  stream_.receive(messages_.back());
}

void Conversation::deliver_reply() {
  const CheckedStream::ProcessingResponse reply = std::move(stream_.replies().front());
  stream_.replies().pop_front();
  const bool response_headers_sent = model_.direction(Side::kResponse).headers_arrived();
  const Judgement judgement = model_.judge(reply);
  if (!judgement.wholly_accepted()) {
    return stream_.is_wrong("the model of Envoy does not take " + reply.ShortDebugString().substr(0, 300) +
                            "\n    " + judgement.describe());
  }
  if (!reply.has_immediate_response()) return;
  // What the server cannot know: headers that it was not shown, modes that it was not told, and that the headers were not
  // held for a body after all, because there were only trailers, which it was not shown either.
  const SideSettings& mode = case_.settings.side(Side::kResponse);
  const bool hidden_end =
      case_.exchange.response.chunks.empty() && case_.exchange.response.trailers && !mode.send_trailers;
  const bool can_know =
      case_.settings.sends_protocol_config && !hidden_end && (mode.send_headers || !response_headers_sent);
  if (can_know && !model_.immediate_is_whole()) {
    stream_.is_wrong("an immediate response behind the response's headers");
  }
}

/// Once the last reply is in, the data plane sees that the server ended the stream. What was sent meanwhile, nobody reads.
void Conversation::end_of_server() {
  if (!stream_.status() || !stream_.replies().empty() || std::exchange(end_told_, true)) return;
  model_.sent().clear();
  model_.server_ended(stream_.status()->ok());
}

bool Conversation::cut() {
  if (case_.cut == Case::Cut::kNone || happened_ < case_.cut_after) return false;
  // What comes behind the messages waits with them.
  if (case_.cut == Case::Cut::kHalfClose && stream_.waits()) return false;
  cut_off_ = true;
  switch (case_.cut) {
    case Case::Cut::kHalfClose:
      coverage_.saw("cut half-close");
      stream_.half_close();
      break;
    case Case::Cut::kCancel:
      coverage_.saw("cut cancel");
      stream_.cancel(engine::Cancel::kPeer);
      break;
    default:
      coverage_.saw("cut shutdown");
      stream_.cancel(engine::Cancel::kShutdown);
  }
  return true;
}

void Conversation::finish() {
  count_case();
  if (wrong().empty() && !cut_off_) {
    end_of_server();
    if (const auto owed = model_.owed(); !owed.empty()) return stream_.is_wrong("still owed: " + owed[0]);
    const bool whole = !model_.immediate() && !model_.failed();
    if (whole) {
      for (const Side side : {Side::kRequest, Side::kResponse}) compare_side(side);
    }
    if (model_.immediate()) {
      coverage_.saw("immediate response arrived");
    }
    stream_.half_close();
  }
  if (wrong().empty()) stream_.destroy();
}

void Conversation::compare_side(Side side) {
  const bool request = side == Side::kRequest;
  const HttpMessage& message = request ? case_.exchange.request : case_.exchange.response;
  const Passed& passed = model_.passed(side);
  const bool given_up = request && case_.exchange.local_reply && !passed.headers;
  if (given_up || (case_.exchange.local_reply && request && !passed.ended)) return;
  if (!passed.headers || !passed.ended)
    return stream_.is_wrong("the " + name_of(side) + " did not get through");

  const ServerReference& reference = stream_.reference();
  const bool observing = case_.settings.observability_mode;
  const auto expected = [&](Headers headers, std::uint32_t phase) {
    if (!observing) ServerReference::change(headers, reference.changes(phase));
    return headers;
  };
  Headers headers = expected(message.headers, request ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS);
  const auto& replacement = observing ? std::nullopt : reference.replacement(side);
  const SideSettings& mode = case_.settings.side(side);
  // The server's part of the body, and behind it what it was never given.
  Pieces body = message.chunks;
  const bool late_end = !body.empty() && body.back().empty() && !message.trailers;
  if (late_end) body.pop_back();
  if (replacement) {
    body = {*replacement};
  } else if (!observing) {
    const Pieces& received = reference.received(side);
    if (mode.body == ProcessingMode::GRPC) {
      body.erase(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(received.size()));
    } else {
      body = {joined(body).substr(size_of(received))};
    }
    body.insert(body.begin(), reference.let_go(side).begin(), reference.let_go(side).end());
  }
  const bool keeps_length = mode.body == ProcessingMode::NONE || mode.body == ProcessingMode::GRPC ||
                            (mode.body == ProcessingMode::BUFFERED && mode.send_headers) ||
                            case_.settings.allow_content_length_header || case_.settings.grpc_data_plane ||
                            observing;
  // If it is there behind headers that waited, it must be right, as everywhere.
  const bool knew_better = reference.headers_waited(side) && first_value(*passed.headers, "content-length");
  const bool without_length = !observing && reference.without_length(side) && !knew_better;
  if (!keeps_length || replacement || without_length) remove_all(headers, "content-length");
  if (mode.body == ProcessingMode::BUFFERED && first_value(headers, "content-length")) {
    overwrite(headers, "content-length", std::to_string(size_of(body)));
    // Which the server takes away if it was not shown it, and changed the body.
    const bool withheld = case_.settings.withheld.contains("content-length");
    if (withheld && !first_value(*passed.headers, "content-length")) remove_all(headers, "content-length");
  }
  if (by_name(headers) != by_name(*passed.headers)) {
    return stream_.is_wrong("the " + name_of(side) + "'s headers arrive as " + to_string(*passed.headers) +
                            "\n    and not as " + to_string(headers));
  }
  if (passed.body != joined(body)) {
    return stream_.is_wrong("the " + name_of(side) + "'s body arrives as '" + readable(passed.body) +
                            "', not as '" + readable(joined(body)) + "'");
  }
  if (mode.body == ProcessingMode::GRPC && body != passed.grpc_messages)
    return stream_.is_wrong("gRPC messages arrive in other pieces");
  const auto length = first_value(*passed.headers, "content-length");
  if (length && !case_.settings.grpc_data_plane && *length != std::to_string(passed.body.size())) {
    return stream_.is_wrong("a body of " + std::to_string(passed.body.size()) +
                            " bytes arrives with content-length " + *length);
  }
  if (message.trailers.has_value() != passed.trailers.has_value())
    return stream_.is_wrong("trailers came or went");
  if (!message.trailers) return;
  const Headers trailers =
      expected(*message.trailers, request ? EXTPROC_REQUEST_TRAILERS : EXTPROC_RESPONSE_TRAILERS);
  if (by_name(trailers) != by_name(*passed.trailers)) {
    return stream_.is_wrong("the " + name_of(side) + "'s trailers arrive as " + to_string(*passed.trailers) +
                            "\n    and not as " + to_string(trailers));
  }
  coverage_.saw("arrived " + name_of(side) + " trailers");
}

void Conversation::count_case() {
  const FilterSettings& settings = case_.settings;
  const std::string kind = settings.grpc_data_plane      ? (settings.windows ? "gRPC with windows " : "gRPC ")
                           : settings.observability_mode ? "observability "
                           : !settings.sends_protocol_config ? "old "
                                                             : "";
  coverage_.saw(kind + "modes " + ProcessingMode::BodySendMode_Name(settings.sides[0].body) + "/" +
                ProcessingMode::BodySendMode_Name(settings.sides[1].body));
  if (settings.send_body_without_waiting_for_header_response) coverage_.saw("bodies without waiting");
  if (case_.exchange.upgrade) coverage_.saw("upgrade");
  if (case_.exchange.local_reply) coverage_.saw("local reply");
  for (const Side side : {Side::kRequest, Side::kResponse}) {
    const HttpMessage& message = side == Side::kRequest ? case_.exchange.request : case_.exchange.response;
    const std::string where = ProcessingMode::BodySendMode_Name(settings.side(side).body) +
                              (message.trailers ? " with trailers" : " without trailers");
    for (const PluginPlan& plan : case_.plugins) {
      const std::uint32_t access = plan.body_access[index(side)];
      if (access != EXTPROC_ACCESS_NONE && !message.chunks.empty()) {
        coverage_.saw("body " + access_name(access) + " " + where);
      }
    }
  }
  coverage_.saw("plugins " + std::to_string(case_.plugins.size()));
}

}  // namespace extprocd::model
