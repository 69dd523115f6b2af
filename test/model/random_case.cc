#include "test/model/random_case.h"

#include <algorithm>
#include <utility>

#include "test/model/random.h"

namespace extprocd::model {
namespace {

const std::vector<std::string> kNames = {"a",      "b",    "X-Mixed", "set-cookie", "content-type",
                                         "secret", "c-bin"};
const std::vector<std::string> kRefusedNames = {"host",  "x-envoy-z", ":status",    ":method",
                                                ":path", ":scheme",   ":authority", "bad name",
                                                "",      ":new",      "grpc-x"};
const std::vector<std::string> kValues = {"1", "2", "", "text/plain", "a, b"};

bool is_body(std::uint32_t phase) { return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY; }

std::string random_bytes(Random& random, std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>('a' + random.below(26));
  return bytes;
}

std::string random_value(Random& random, const Case& a_case) {
  if (!a_case.settings.grpc_data_plane && random.one_in(10)) return "\xff\x80";
  if (random.one_in(20)) return std::string(300, 'v');
  return random.of(kValues);
}

Headers random_headers(Random& random, const Case& a_case, std::size_t most) {
  Headers headers;
  for (std::size_t i = random.below(most + 1); i > 0; --i) {
    const std::string& name = random.of(kNames);
    headers.emplace_back(name == "X-Mixed" ? "x-mixed" : name, random_value(random, a_case));
  }
  return headers;
}

void choose_body_modes(Random& random, FilterSettings& settings) {
  static const std::vector<BodyMode> kEnvoy = {ProcessingMode::NONE, ProcessingMode::STREAMED,
                                               ProcessingMode::BUFFERED, ProcessingMode::BUFFERED_PARTIAL,
                                               ProcessingMode::FULL_DUPLEX_STREAMED};
  static const std::vector<BodyMode> kOld = {ProcessingMode::NONE, ProcessingMode::STREAMED,
                                             ProcessingMode::BUFFERED, ProcessingMode::BUFFERED_PARTIAL};
  static const std::vector<BodyMode> kGrpc = {ProcessingMode::NONE, ProcessingMode::GRPC,
                                              ProcessingMode::GRPC};
  // Some data plane may have both flow control and full duplex: the contract allows it.
  static const std::vector<BodyMode> kDuplexToo = {ProcessingMode::GRPC,
                                                   ProcessingMode::FULL_DUPLEX_STREAMED};
  const auto& modes = settings.grpc_data_plane ? (settings.windows && random.one_in(3) ? kDuplexToo : kGrpc)
                      : settings.sends_protocol_config ? kEnvoy
                                                       : kOld;
  for (SideSettings& side : settings.sides) {
    side.body = random.of(modes);
    side.send_headers = settings.grpc_data_plane || !random.one_in(7);
    side.send_trailers = random.one_in(2);
  }
  // By a GRPC mode or by flow control alone can a server know a gRPC data plane.
  const bool knowable = settings.windows || settings.sides[0].body != ProcessingMode::NONE ||
                        settings.sides[1].body != ProcessingMode::NONE;
  if (settings.grpc_data_plane && !knowable) settings.sides[random.below(2)].body = ProcessingMode::GRPC;
  for (SideSettings& side : settings.sides) side.send_trailers = side.send_trailers || is_duplex(side.body);
  if (settings.sides[0].body == ProcessingMode::STREAMED) {
    settings.send_body_without_waiting_for_header_response = random.one_in(3);
  }
}

FilterSettings random_settings(Random& random) {
  FilterSettings settings;
  const std::size_t kind = random.below(20);
  settings.grpc_data_plane = kind < 4;
  settings.observability_mode = kind == 4;
  settings.sends_protocol_config = kind > 6 || settings.grpc_data_plane;
  if (settings.grpc_data_plane && random.one_in(2)) {
    const auto window = [&] { return static_cast<std::int64_t>(random.between(2, 40)); };
    settings.windows = Windows{window(), window(), window(), window()};
  }
  choose_body_modes(random, settings);
  settings.buffer_limit = random.between(1, 40);
  // Since Envoy 1.38; what the server is not shown it cannot mend.
  settings.allow_content_length_header = settings.sends_protocol_config && !settings.grpc_data_plane &&
                                         settings.sides[0].send_headers && settings.sides[1].send_headers &&
                                         random.one_in(3);
  if (random.one_in(3)) settings.withheld = {"secret", "b"};
  if (!settings.allow_content_length_header && random.one_in(8)) settings.withheld.insert("content-length");
  return settings;
}

std::vector<std::string> random_chunks(Random& random, const FilterSettings& settings, Side side,
                                       std::size_t size, bool trailers) {
  const bool messages = settings.side(side).body == ProcessingMode::GRPC;
  std::vector<std::string> chunks;
  for (std::size_t i = random.below(size + 1); i > 0; --i) {
    const bool large = !settings.windows && random.one_in(60);
    const bool empty = messages && random.one_in(8);
    chunks.push_back(random_bytes(random, empty   ? 0
                                          : large ? random.between(60, 200) * 1024
                                                  : random.between(1, 20)));
  }
  if (!trailers && random.one_in(3)) chunks.emplace_back();  // the end comes late
  return chunks;
}

/// The size of the body, if the headers say one at all.
void mend_content_length(HttpMessage& message) {
  if (!first_value(message.headers, "content-length")) return;
  std::size_t length = 0;
  for (const auto& chunk : message.chunks) length += chunk.size();
  overwrite(message.headers, "content-length", std::to_string(length));
}

HttpMessage random_message(Random& random, const Case& a_case, Side side, std::size_t size) {
  const FilterSettings& settings = a_case.settings;
  HttpMessage message;
  message.headers = side == Side::kRequest
                        ? Headers{{":method", "POST"}, {":path", "/"}, {":authority", "a"}, {"host", "a"}}
                        : Headers{{":status", "200"}};
  for (auto& header : random_headers(random, a_case, 4)) message.headers.push_back(std::move(header));
  bool trailers = random.one_in(2);
  if (settings.grpc_data_plane) trailers = side == Side::kResponse && !random.one_in(5);
  if (trailers) message.trailers = random_headers(random, a_case, 3);
  message.chunks = random_chunks(random, settings, side, size, trailers);
  // Without trailers, a gRPC response is Trailers-Only.
  if (settings.grpc_data_plane && side == Side::kResponse && !trailers) message.chunks.clear();
  if (random.one_in(2)) {
    message.headers.emplace_back("content-length", "");
    mend_content_length(message);
  }
  return message;
}

Step random_body_step(Random& random, const Case& a_case) {
  const bool large = !a_case.settings.windows && random.one_in(40);
  Step step;
  step.kind = random.of(std::vector<Step::Kind>{Step::Kind::kWrite, Step::Kind::kForward, Step::Kind::kDrop});
  if (step.kind == Step::Kind::kWrite) {
    step.value = random_bytes(random, large ? random.between(60, 150) * 1024 : random.below(12));
  } else {
    step.size = random.one_in(4) ? SIZE_MAX : large ? random.between(60, 150) * 1024 : random.below(25);
  }
  return step;
}

Step random_step(Random& random, const Case& a_case, std::uint32_t phase) {
  if (is_body(phase) ? !random.one_in(3) : random.one_in(30)) return random_body_step(random, a_case);
  if (random.one_in(40)) {
    Step skip;
    skip.kind = Step::Kind::kSkip;
    skip.phases = static_cast<std::uint32_t>(random.below(EXTPROC_PHASE_BIT(EXTPROC_PHASE_COUNT)));
    return skip;
  }
  const auto header = [&](Step::Kind kind) {
    return Step{kind, random.one_in(6) ? random.of(kRefusedNames) : random.of(kNames),
                random.one_in(25) ? "bad\nvalue" : random_value(random, a_case)};
  };
  switch (random.below(12)) {
    case 0:
    case 1:
      return header(Step::Kind::kAdd);
    case 2:
    case 3:
      return header(Step::Kind::kRemove);
    case 4:
      return {Step::Kind::kMetadata, random.of(std::vector<std::string>{"k", "l"}), random_bytes(random, 3)};
    case 5:
      return {Step::Kind::kClearRouteCache, {}, {}};
    case 6:
      if (random.one_in(2)) return {Step::Kind::kReplaceBody, {}, random_bytes(random, random.below(30))};
      break;
    case 7:  // what a request, a response, or a replaced message alone can have
      if (phase == EXTPROC_REQUEST_HEADERS)
        return {Step::Kind::kSet, random.one_in(2) ? ":path" : ":method", "/b"};
      return {Step::Kind::kSet, ":status", random.of(std::vector<std::string>{"404", "99", "600"})};
    default:
      break;
  }
  return header(Step::Kind::kSet);
}

/// What a plugin does with a direction's body beside its steps.
void plan_body(Random& random, PluginPlan& plan, std::size_t side) {
  static const std::vector<std::uint32_t> kAccess = {EXTPROC_ACCESS_OBSERVE, EXTPROC_ACCESS_EDIT_CHUNK,
                                                     EXTPROC_ACCESS_WHOLE, EXTPROC_ACCESS_STREAM,
                                                     EXTPROC_ACCESS_STREAM};
  const std::uint32_t headers = side == 0 ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS;
  if (random.one_in(4)) plan.phase[headers].holds = ~0U;
  PhasePlan& what = plan.phase[headers + 1];
  if ((plan.phases & EXTPROC_PHASE_BIT(headers + 1)) == 0) return;
  plan.body_access[side] = random.of(kAccess);
  const auto some_calls = [&] { return static_cast<std::uint32_t>(random.below(std::size_t{1} << 32)); };
  if (random.one_in(2)) what.busy = some_calls();
  const bool may_hold = plan.body_access[side] == EXTPROC_ACCESS_STREAM;
  if (may_hold ? !random.one_in(4) : random.one_in(30)) what.holds = random.one_in(3) ? ~0U : some_calls();
  what.holds_at_end = random.one_in(30);
}

PluginPlan random_plan(Random& random, const Case& a_case, std::size_t size) {
  static const std::vector<Outcome> kEnds = {Outcome::kFinish,
                                             Outcome::kReply,
                                             Outcome::kReply,
                                             Outcome::kFail,
                                             Outcome::kFail,
                                             Outcome::kThrow,
                                             Outcome::kReplyWithoutReply,
                                             Outcome::kUnknownAction};
  PluginPlan plan;
  plan.phases = static_cast<std::uint32_t>(random.below(EXTPROC_PHASE_BIT(EXTPROC_PHASE_COUNT)));
  for (const auto phase : {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_BODY}) {
    if (random.one_in(2)) plan.phases |= EXTPROC_PHASE_BIT(phase);
  }
  plan.on_error = static_cast<config::FailurePolicy>(random.below(3));
  plan.fails_to_begin = random.one_in(20);
  for (std::uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    PhasePlan& what = plan.phase[phase];
    for (std::size_t i = random.below(size + 1); i > 0; --i)
      what.steps.push_back(random_step(random, a_case, phase));
    if (random.one_in(6)) what.outcome = random.of(kEnds);
    const bool repeats = phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY;
    if (repeats) what.outcome_at = static_cast<std::uint32_t>(random.below(3));
    what.reply_status = random.of(std::vector<std::uint32_t>{200, 403, 599});
    what.reply_grpc_status = random.one_in(2) ? -1 : static_cast<std::int32_t>(random.below(17));
    what.fail_code = static_cast<std::uint32_t>(random.between(1, 16));
    what.reply_headers = random_headers(random, a_case, 3);
    if (random.one_in(8)) what.reply_headers.emplace_back(random.of(kRefusedNames), "1");
  }
  for (const std::size_t side : {0, 1}) plan_body(random, plan, side);
  if (random.one_in(5)) plan.max_body_bytes = random.between(1, 60);
  return plan;
}

}  // namespace

Case random_case(std::uint64_t seed, std::size_t size) {
  Random random(seed);
  Case a_case;
  a_case.settings = random_settings(random);
  a_case.exchange.request = random_message(random, a_case, Side::kRequest, size);
  a_case.exchange.response = random_message(random, a_case, Side::kResponse, size);
  // A held message would wait for ever: its body comes after the other side's answer.
  const bool may_upgrade = std::ranges::none_of(a_case.settings.sides, [](const SideSettings& side) {
    return side.body == ProcessingMode::BUFFERED || side.body == ProcessingMode::BUFFERED_PARTIAL;
  });
  a_case.exchange.upgrade = may_upgrade && random.one_in(12);
  if (a_case.exchange.upgrade) {
    a_case.exchange.request.headers.emplace_back("upgrade", "websocket");
    overwrite(a_case.exchange.response.headers, ":status", "101");
  }
  a_case.exchange.local_reply = !a_case.exchange.upgrade && random.one_in(12);
  if (!a_case.settings.sends_protocol_config && !a_case.settings.observability_mode) {
    for (const std::size_t side : {0, 1}) {
      if (random.one_in(2)) a_case.setup.stated_modes[side] = a_case.settings.sides[side].body;
    }
  }
  // With a drain, which the reference does not foretell, gRPC data planes end early.
  a_case.setup.early_end = !random.one_in(4) && !a_case.settings.grpc_data_plane;
  for (std::size_t i = random.below(4); i > 0; --i)
    a_case.plugins.push_back(random_plan(random, a_case, size));
  a_case.schedule = random.below(1U << 30);
  if (random.one_in(4)) a_case.cut = static_cast<Case::Cut>(random.between(1, 3));
  a_case.cut_after = static_cast<std::uint32_t>(random.below(20));
  return a_case;
}

namespace {

Pause random_pause(Random& random) {
  Pause pause;
  if (random.one_in(3)) pause.after = static_cast<std::uint32_t>(random.below(60));
  pause.resumes_at_once = random.one_in(5);
  pause.asks_twice = random.one_in(6);
  pause.forgotten = random.one_in(10);
  pause.left_alone = random.one_in(4);
  return pause;
}

void plan_waits(Random& random, const Case& a_case, PluginPlan& plan, std::size_t size) {
  for (std::uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    PhasePlan& what = plan.phase[phase];
    if (random.one_in(25)) what.outcome = Outcome::kSuspendWithoutHandle;
    if (random.one_in(8)) what.takes = static_cast<std::uint32_t>(random.below(40));
    if (phase < plan.timeouts.size() && random.one_in(3)) {
      plan.timeouts[phase] = static_cast<std::uint32_t>(random.between(1, 50));
    }
    if (random.one_in(2)) continue;
    if (random.one_in(6)) {
      Step extend;
      extend.kind = Step::Kind::kExtend;
      extend.size = random.below(250);
      (random.one_in(3) ? what.steps_resumed : what.steps).push_back(extend);
    }
    what.waits = random.one_in(2) ? ~0U : static_cast<std::uint32_t>(random.below(std::size_t{1} << 32));
    for (std::size_t i = random.one_in(4) ? random.between(2, 3) : 1; i > 0; --i)
      what.pauses.push_back(random_pause(random));
    // Who returns EXTPROC_SUSPEND with a handle forgets nothing.
    for (Pause& pause : what.pauses)
      pause.forgotten = pause.forgotten && what.outcome != Outcome::kSuspendWithoutHandle;
    for (std::size_t i = random.below(size + 1); i > 0; --i)
      what.steps_resumed.push_back(random_step(random, a_case, phase));
  }
}

}  // namespace

Case with_waits(Case a_case, std::uint64_t seed, std::size_t size) {
  constexpr std::uint64_t kOther = 0x9e3779b97f4a7c15;  // than what made the case
  Random random(seed ^ kOther);
  if (random.one_in(2)) a_case.setup.deadline = random.between(1, 150);
  // What is asked for is a whole number of milliseconds, half and tenth of the usual time too.
  if (random.one_in(2)) a_case.setup.message_timeout = 10 * random.between(1, 8);
  if (random.one_in(2)) a_case.setup.max_message_timeout = random.between(1, 200);
  for (PluginPlan& plan : a_case.plugins) plan_waits(random, a_case, plan, size);
  if (a_case.cut != Case::Cut::kNone) a_case.cut_after = static_cast<std::uint32_t>(random.below(40));
  return a_case;
}

std::string to_string(const Case& a_case) {
  const FilterSettings& settings = a_case.settings;
  std::string text = "filter:";
  if (settings.grpc_data_plane) text += " gRPC data plane";
  if (settings.observability_mode) text += " observability";
  if (!settings.sends_protocol_config) text += " without protocol_config";
  if (settings.send_body_without_waiting_for_header_response) text += " bodies without waiting";
  if (settings.allow_content_length_header) text += " allows content-length";
  if (settings.windows) {
    text += " windows " + std::to_string(settings.windows->downstream_to_sidestream) + "," +
            std::to_string(settings.windows->sidestream_to_upstream) + "," +
            std::to_string(settings.windows->upstream_to_sidestream) + "," +
            std::to_string(settings.windows->sidestream_to_downstream);
  }
  if (!a_case.setup.early_end) text += " no early end";
  if (a_case.exchange.local_reply) text += " local reply";
  if (a_case.exchange.upgrade) text += " upgrade";
  if (a_case.setup.deadline != 0) text += " deadline " + std::to_string(a_case.setup.deadline) + " ms";
  if (a_case.setup.message_timeout != 0) {
    text += " message_timeout " + std::to_string(a_case.setup.message_timeout) + " ms, at most " +
            std::to_string(a_case.setup.max_message_timeout) + " ms";
  }
  text += " buffer_limit " + std::to_string(settings.buffer_limit);
  for (const auto& name : settings.withheld) text += " withholds " + name;
  text += "\n";
  for (const Side side : {Side::kRequest, Side::kResponse}) {
    const SideSettings& mode = settings.side(side);
    const HttpMessage& message = side == Side::kRequest ? a_case.exchange.request : a_case.exchange.response;
    text += side == Side::kRequest ? "  request " : "  response ";
    text += ProcessingMode::BodySendMode_Name(mode.body) + (mode.send_headers ? "" : " headers SKIP") +
            (mode.send_trailers ? " trailers SEND" : "") + ": " + to_string(message.headers);
    for (const auto& chunk : message.chunks) text += " '" + readable(chunk) + "'";
    if (message.trailers) text += " trailers " + to_string(*message.trailers);
    if (a_case.setup.stated_modes[index(side)]) text += " (mode stated)";
    text += "\n";
  }
  for (std::size_t i = 0; i < a_case.plugins.size(); ++i) {
    text += "  p" + std::to_string(i) + " " + to_string(a_case.plugins[i]);
  }
  static const std::vector<std::string> kCuts = {"none", "half-close", "cancel", "shutdown"};
  if (a_case.cut != Case::Cut::kNone) {
    text += "  cut: " + kCuts.at(static_cast<std::size_t>(a_case.cut)) + " after " +
            std::to_string(a_case.cut_after) + "\n";
  }
  return text;
}

std::vector<Case> reductions(const Case& a_case) {
  std::vector<Case> smaller;
  const auto add = [&](auto change) {
    Case copy = a_case;
    change(copy);
    smaller.push_back(std::move(copy));
  };
  for (std::size_t i = 0; i < a_case.plugins.size(); ++i) {
    add([&](Case& copy) { copy.plugins.erase(copy.plugins.begin() + static_cast<std::ptrdiff_t>(i)); });
    for (std::uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
      const PhasePlan& what = a_case.plugins[i].phase[phase];
      if ((a_case.plugins[i].phases & EXTPROC_PHASE_BIT(phase)) != 0) {
        add([&](Case& copy) {
          copy.plugins[i].phases &= ~EXTPROC_PHASE_BIT(phase);
          if (is_body(phase))
            copy.plugins[i].body_access[phase == EXTPROC_REQUEST_BODY ? 0 : 1] = EXTPROC_ACCESS_NONE;
        });
      }
      if (what.outcome != Outcome::kContinue)
        add([&](Case& copy) { copy.plugins[i].phase[phase].outcome = Outcome::kContinue; });
      if (what.holds != 0) add([&](Case& copy) { copy.plugins[i].phase[phase].holds = 0; });
      if (what.takes != 0) add([&](Case& copy) { copy.plugins[i].phase[phase].takes = 0; });
      if (what.waits != 0) {
        add([&](Case& copy) {
          copy.plugins[i].phase[phase].waits = 0;
          copy.plugins[i].phase[phase].pauses.clear();
        });
      }
      if (what.pauses.size() > 1) add([&](Case& copy) { copy.plugins[i].phase[phase].pauses.pop_back(); });
      if (!what.steps_resumed.empty())
        add([&](Case& copy) { copy.plugins[i].phase[phase].steps_resumed.clear(); });
      if (phase < a_case.plugins[i].timeouts.size() && a_case.plugins[i].timeouts[phase] != 0)
        add([&](Case& copy) { copy.plugins[i].timeouts[phase] = 0; });
      if (what.busy != ~0U) add([&](Case& copy) { copy.plugins[i].phase[phase].busy = ~0U; });
      for (std::size_t step = 0; step < what.steps.size(); ++step) {
        add([&](Case& copy) {
          auto& steps = copy.plugins[i].phase[phase].steps;
          steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(step));
        });
      }
    }
  }
  for (const auto side : {0, 1}) {
    if (a_case.setup.stated_modes[side]) add([&](Case& copy) { copy.setup.stated_modes[side].reset(); });
  }
  if (a_case.setup.deadline != 0) add([](Case& copy) { copy.setup.deadline = 0; });
  if (a_case.setup.message_timeout != 0) add([](Case& copy) { copy.setup.message_timeout = 0; });
  for (const auto member : {&HttpExchange::request, &HttpExchange::response}) {
    const HttpMessage& message = a_case.exchange.*member;
    const bool grpc = a_case.settings.grpc_data_plane;
    if (message.trailers && !grpc) add([&](Case& copy) { (copy.exchange.*member).trailers.reset(); });
    for (std::size_t i = 0; i < message.chunks.size(); ++i) {
      add([&](Case& copy) {
        auto& chunks = (copy.exchange.*member).chunks;
        chunks.erase(chunks.begin() + static_cast<std::ptrdiff_t>(i));
        mend_content_length(copy.exchange.*member);
      });
    }
    for (std::size_t i = 0; i < message.headers.size(); ++i) {
      add([&](Case& copy) {
        auto& headers = (copy.exchange.*member).headers;
        headers.erase(headers.begin() + static_cast<std::ptrdiff_t>(i));
      });
    }
  }
  if (a_case.cut != Case::Cut::kNone) add([](Case& copy) { copy.cut = Case::Cut::kNone; });
  if (!a_case.settings.withheld.empty()) add([](Case& copy) { copy.settings.withheld.clear(); });
  if (a_case.exchange.local_reply) add([](Case& copy) { copy.exchange.local_reply = false; });
  return smaller;
}

}  // namespace extprocd::model
