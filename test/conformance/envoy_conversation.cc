#include "test/conformance/envoy_conversation.h"

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

namespace extprocd::conformance {
namespace {

using model::EnvoyModel;
using model::Passed;
using model::Side;
using Reply = EnvoyModel::ProcessingResponse;

class Replies final : public engine::Sink {
 public:
  void send(const wire::Pieces& message) override { come.push_back(message.joined()); }
  void finish(const absl::Status& status) override { end = status; }

  std::vector<std::string> come;
  std::optional<absl::Status> end;
};

std::string shortened(std::string text) {
  constexpr std::size_t kMost = 300;
  return text.size() <= kMost ? text : text.substr(0, kMost) + "… (" + std::to_string(text.size()) + ")";
}

/// Values of a name as one, as HTTP has it.
std::optional<std::string> value_of(const Headers& headers, const std::string& name) {
  std::optional<std::string> all;
  for (const auto& [key, value] : headers) {
    if (key == name) all = all ? *all + "," + value : value;
  }
  return all;
}

/// What reached one end.
struct Arrived {
  bool reached = false;
  Headers headers;
  std::string body;
  Headers trailers;
  bool ended = false;
};

/// As Envoy's access log writes it.
std::string text_of(const google::protobuf::Value& value) {
  if (value.has_string_value()) return value.string_value();
  if (value.has_bool_value()) return value.bool_value() ? "true" : "false";
  std::ostringstream number;
  number << value.number_value();
  return number.str();
}

class Run {
 public:
  Run(const Case& a_case, Schedule schedule, engine::ProcessService& service)
      : case_(a_case),
        schedule_(schedule),
        model_(a_case.settings, a_case.exchange),
        stream_(service.open(replies_, {.peer = "in process"})) {}

  Conversation run() {
    while (result_.wrong.empty() && step()) {
    }
    finish();
    return std::move(result_);
  }

 private:
  bool step() {
    const bool waiting = !model_.sent().empty();
    if (!(schedule_ == Schedule::kLockstep && waiting)) {
      if (response_is_due() && case_.early) return arrive(Side::kResponse);
      if (model_.can_arrive(Side::kRequest)) return arrive(Side::kRequest);
      if (response_is_due()) return arrive(Side::kResponse);
    }
    if (!waiting) return false;
    deliver();
    return true;
  }

  bool arrive(Side side) {
    model_.arrive(side);
    return true;
  }

  /// An upstream answers when the request has ended, unless it is early.
  [[nodiscard]] bool response_is_due() const {
    if (!model_.can_arrive(Side::kResponse) || case_.goes_away) return false;
    return case_.early || case_.exchange.upgrade || model_.passed(Side::kRequest).ended;
  }

  void deliver() {
    for (const auto& [name_space, entries] : case_.set_metadata) {
      auto& fields =
          *(*model_.sent().front().mutable_metadata_context()->mutable_filter_metadata())[name_space]
               .mutable_fields();
      for (const auto& [key, value] : entries) fields[key].set_string_value(value);
    }
    const std::string message = model_.sent().front().SerializeAsString();
    model_.sent().pop_front();
    if (result_.ended) return;  // what Envoy sent before it heard
    result_.turns.push_back({message, {}});
    stream_->receive(engine::Message::copy(message));
    take_replies();
    while (result_.wrong.empty() && !result_.ended && model_.can_give_back()) {
      model_.give_back();
      const std::string update = model_.sent().back().SerializeAsString();
      model_.sent().pop_back();
      result_.turns.push_back({update, {}});
      stream_->receive(engine::Message::copy(update));
      take_replies();
    }
  }

  void take_replies() {
    for (const std::string& bytes : std::exchange(replies_.come, {})) {
      result_.turns.back().replies.push_back(bytes);
      if (result_.wrong.empty()) judge(bytes);
    }
    if (!replies_.end || result_.ended) return;
    result_.ended = true;
    result_.end = *replies_.end;
    model_.server_ended(replies_.end->ok() || case_.failure_mode_allow);
  }

  void judge(const std::string& bytes) {
    Reply reply;
    if (!reply.ParseFromString(bytes)) return is_wrong("a reply that cannot be read");
    for (const auto& [name_space, value] : reply.dynamic_metadata().fields()) {
      for (const auto& [key, entry] : value.struct_value().fields())
        metadata_[name_space + "/" + key] = text_of(entry);
    }
    const model::Judgement judgement = model_.judge(reply);
    const bool fine =
        judgement.accepted() && std::ranges::all_of(judgement.ignored, [&](const std::string& part) {
          return std::ranges::any_of(
              case_.ignored, [&](const auto& known) { return part.find(known) != std::string::npos; });
        });
    if (!fine)
      is_wrong("Envoy does not take " + shortened(reply.ShortDebugString()) + ": " + judgement.describe());
  }

  void finish() {
    if (!result_.wrong.empty()) {
      if (!result_.ended) stream_->cancelled(engine::Cancel::kPeer);
      return;
    }
    if (const auto owed = model_.owed(); !owed.empty() && !case_.goes_away)
      is_wrong("still owed: " + owed[0]);
    if (case_.goes_away) {
      result_.cancelled = true;
      if (!result_.ended) stream_->cancelled(engine::Cancel::kPeer);
    } else {
      half_close();
    }
    compare("upstream", case_.upstream, at_upstream());
    if (metadata_ != case_.metadata) is_wrong("other dynamic metadata");
    if (!case_.goes_away && !case_.client.cut) compare("client", case_.client, at_client());
  }

  void half_close() {
    if (!result_.ended) {
      stream_->half_closed();
      if (!replies_.come.empty()) is_wrong("a reply behind the half-close");
      if (!replies_.end) return is_wrong("the stream did not end");
      result_.end = *replies_.end;
    }
    const std::string status = absl::StatusCodeToString(result_.end.code());
    if (status != case_.stream_status)
      is_wrong("the stream ended with " + result_.end.ToString() + ", not " + case_.stream_status);
  }

  static Arrived arrived(const Passed& passed) {
    return {passed.headers.has_value(), passed.headers.value_or(Headers{}), passed.body,
            passed.trailers.value_or(Headers{}), passed.ended};
  }

  [[nodiscard]] Arrived at_upstream() const { return arrived(model_.passed(Side::kRequest)); }

  [[nodiscard]] Arrived at_client() const {
    if (const auto& reply = model_.immediate()) return local_reply(*reply);
    if (model_.failed()) return {true, {{":status", "500"}}, {}, {}, true};
    if (const auto& reply = model_.streamed_reply()) return arrived(*reply);
    return arrived(model_.passed(Side::kResponse));
  }

  /// To a gRPC client a local reply is a status in headers alone.
  [[nodiscard]] Arrived local_reply(const EnvoyModel::ImmediateResponse& reply) const {
    Arrived client{true, model_.immediate_headers(), reply.body(), {}, true};
    const std::string type = value_of(case_.exchange.request.headers, "content-type").value_or("");
    if (!type.starts_with("application/grpc")) {
      client.headers.emplace_back(":status",
                                  std::to_string(std::max(200, static_cast<int>(reply.status().code()))));
      return client;
    }
    client.headers.emplace_back(":status", "200");
    client.headers.emplace_back("grpc-status", std::to_string(reply.grpc_status().status()));
    if (!reply.body().empty()) client.headers.emplace_back("grpc-message", std::exchange(client.body, {}));
    return client;
  }

  void compare(const std::string& end, const Expected& expected, const Arrived& got) {
    if (expected.partial && !got.reached) return;
    if (expected.reached != got.reached) {
      return is_wrong(expected.reached ? "nothing reaches the " + end : "the request reaches the upstream");
    }
    if (!got.reached) return;
    for (const auto& [name, value] : expected.headers) {
      const std::string wanted = *value_of(expected.headers, name);
      const auto found = value_of(got.headers, name);
      if (found != wanted)
        return is_wrong(end + ": " + name + " is " + (found ? "'" + *found + "'" : "not there") + ", not '" +
                        wanted + "'");
    }
    for (const std::string& name : expected.absent) {
      if (value_of(got.headers, name)) is_wrong(end + ": " + name + " is there");
    }
    if (expected.body && got.body != *expected.body) {
      is_wrong(end + ": the body is '" + shortened(got.body) + "', not '" + shortened(*expected.body) + "'");
    }
    if (expected.trailers && model::by_name(got.trailers) != model::by_name(*expected.trailers))
      is_wrong(end + ": other trailers");
    if (expected.body && !got.ended) is_wrong(end + ": the message does not end");
  }

  void is_wrong(const std::string& what) { result_.wrong.push_back(what); }

  const Case& case_;
  const Schedule schedule_;
  EnvoyModel model_;
  Replies replies_;
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<engine::ServerStream> stream_;
  Conversation result_;
};

}  // namespace

std::string Conversation::transcript() const {
  std::string text;
  for (const Turn& turn : turns) {
    EnvoyModel::ProcessingRequest message;
    message.ParseFromString(turn.message);
    text += "  -> " + shortened(message.ShortDebugString()) + "\n";
    for (const std::string& bytes : turn.replies) {
      Reply reply;
      reply.ParseFromString(bytes);
      text += "  <- " + shortened(reply.ShortDebugString()) + "\n";
    }
  }
  if (ended) text += "  <- end: " + end.ToString() + "\n";
  return text;
}

Conversation converse(const Case& a_case, Schedule schedule, engine::ProcessService& service) {
  return Run(a_case, schedule, service).run();
}

}  // namespace extprocd::conformance
