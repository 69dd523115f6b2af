#include "test/model/planned_chain.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace extprocd::model {
namespace {

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }
std::string text_of(const extproc_str& text) { return {text.data == nullptr ? "" : text.data, text.size}; }

bool is_body(std::uint32_t phase) { return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY; }

/// The families are the same for every case, and making them is what costs.
telemetry::Registry& registry() {
  static telemetry::Registry the_registry(1);
  return the_registry;
}
const telemetry::Metrics& metrics() {
  static const telemetry::Metrics the_metrics(registry());
  return the_metrics;
}

std::optional<wire::BodyMode> stated(const std::optional<BodyMode>& mode) {
  if (!mode) return std::nullopt;
  return static_cast<wire::BodyMode>(*mode);
}

}  // namespace

PlannedPlugin::PlannedPlugin(std::size_t position, PluginPlan plan, Notes& notes,
                             telemetry::Registry& of_host)
    : name_("p" + std::to_string(position)),
      plan_(std::move(plan)),
      notes_(notes),
      host_([&] {
        config::Plugin entry;
        entry.name = name_;
        return std::make_unique<engine::PluginHost>(entry, "model.toml", "test.planned", plan_.phases,
                                                    of_host);
      }()),
      api_(*host_->table()),
      metadata_(*static_cast<const extproc_metadata_api*>(api_.get_extension(&api_, EXTPROC_METADATA_1))),
      body_(*static_cast<const extproc_body_api*>(api_.get_extension(&api_, EXTPROC_BODY_1))),
      control_(*static_cast<const extproc_control_api*>(api_.get_extension(&api_, EXTPROC_CONTROL_1))),
      async_(*static_cast<const extproc_async_api*>(api_.get_extension(&api_, EXTPROC_ASYNC_1))) {
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.abi_major = EXTPROC_ABI_MAJOR;
  descriptor_.id = "test.planned";
  descriptor_.version = "1";
  descriptor_.phases = plan_.phases;
  descriptor_.request_body_access = plan_.body_access[0];
  descriptor_.response_body_access = plan_.body_access[1];
  descriptor_.stream_state_size = sizeof(State);
  descriptor_.stream_state_align = alignof(State);
  descriptor_.stream_begin = [](void* instance, void* state, extproc_call* call,
                                const extproc_stream_facts* facts) {
    return static_cast<PlannedPlugin*>(instance)->begin(*static_cast<State*>(state), call, *facts);
  };
  descriptor_.on_phase = [](void* instance, void* state, extproc_call* call, uint32_t phase, uint32_t flags) {
    return static_cast<PlannedPlugin*>(instance)->on_phase(*static_cast<State*>(state), call, phase, flags);
  };
  descriptor_.on_resumed = [](void* instance, void* state, extproc_call* call, uint32_t phase, uint32_t flags,
                              uint64_t token) {
    return static_cast<PlannedPlugin*>(instance)->on_resumed(*static_cast<State*>(state), call, phase, flags,
                                                             token);
  };
  descriptor_.on_cancelled = [](void* instance, void* state, extproc_call*, uint32_t phase, uint32_t reason) {
    static_cast<PlannedPlugin*>(instance)->write(
        *static_cast<State*>(state), phase_name(phase) + " cancelled, reason " + std::to_string(reason));
  };
  descriptor_.stream_end = [](void* instance, void* state, extproc_call*, const extproc_stream_end* end) {
    static_cast<PlannedPlugin*>(instance)->end(*static_cast<State*>(state), *end);
  };
}

extproc_action PlannedPlugin::begin(State& state, extproc_call* call, const extproc_stream_facts& facts) {
  state = {facts.id, {}, 0};
  write(state, "begin");
  if (!plan_.fails_to_begin) return EXTPROC_CONTINUE;
  api_.fail(call, plan_.phase[0].fail_code, abi("cannot begin"));
  return EXTPROC_FAIL;
}

extproc_action PlannedPlugin::on_phase(State& state, extproc_call* call, std::uint32_t phase,
                                       std::uint32_t flags) {
  const PhasePlan& what = plan_.phase[phase];
  const std::uint32_t number = state.calls[phase]++;
  write(state, phase_name(phase) + flag_names(flags) + " sees " + seen(call, phase));
  if (has_bit(what.busy, number)) take_all(state, what.steps, call, phase);
  state.pause = 0;
  return finish_callback(state, call, phase, flags);
}

extproc_action PlannedPlugin::on_resumed(State& state, extproc_call* call, std::uint32_t phase,
                                         std::uint32_t flags, std::uint64_t token) {
  write(state, phase_name(phase) + flag_names(flags) + " resumed with " + std::to_string(token) + " sees " +
                   seen(call, phase));
  take_all(state, plan_.phase[phase].steps_resumed, call, phase);
  return finish_callback(state, call, phase, flags);
}

void PlannedPlugin::take_all(const State& state, const std::vector<Step>& steps, extproc_call* call,
                             std::uint32_t phase) {
  for (const Step& step : steps) {
    write(state, to_string(step) + " -> " + std::to_string(take(step, call, phase)));
  }
  if (is_body(phase) && !steps.empty()) write(state, "headers now " + headers_seen(call, phase - 1));
}

/// Does what a pause says. True: the callback is to return EXTPROC_SUSPEND.
bool PlannedPlugin::suspends(State& state, extproc_call* call, const Pause& pause) {
  extproc_resume_handle handle = 0;
  const extproc_status status = async_.suspend(call, &handle);
  write(state, "suspend -> " + std::to_string(status));
  if (status != EXTPROC_OK) return false;
  notes_[state.stream].suspensions.push_back({this, handle, pause.left_alone});
  if (pause.asks_twice) {
    extproc_resume_handle another = 0;
    write(state, "suspend again -> " + std::to_string(async_.suspend(call, &another)));
  }
  if (pause.after) {
    constexpr std::uint64_t kNanosecondsOfOne = 1000000;
    const auto answer =
        async_.resume_after(call, handle, *pause.after * kNanosecondsOfOne, kTokenOfTimer + state.pause);
    write(state, "resume_after -> " + std::to_string(answer));
  }
  if (pause.resumes_at_once) {
    write(state, "resume -> " + std::to_string(resume(handle, kTokenAtOnce + state.pause)));
  }
  ++state.pause;
  return !pause.forgotten;
}

/// What on_phase and on_resumed end with: waiting, or what the phase comes to.
extproc_action PlannedPlugin::finish_callback(State& state, extproc_call* call, std::uint32_t phase,
                                              std::uint32_t flags) {
  const PhasePlan& what = plan_.phase[phase];
  const std::uint32_t number = state.calls[phase] - 1;
  if (auto* const time = notes_[state.stream].time) *time += std::chrono::milliseconds(what.takes);
  const bool waits = has_bit(what.waits, number) && state.pause < what.pauses.size();
  if (waits && suspends(state, call, what.pauses[state.pause])) return EXTPROC_SUSPEND;
  const bool may_hold = what.holds_at_end || (flags & (EXTPROC_END_OF_BODY | EXTPROC_END_OF_STREAM)) == 0;
  const extproc_action otherwise = may_hold && has_bit(what.holds, number) ? EXTPROC_HOLD : EXTPROC_CONTINUE;
  if (number != what.outcome_at) return otherwise;
  switch (what.outcome) {
    case Outcome::kContinue:
      return otherwise;
    case Outcome::kFinish:
      return EXTPROC_FINISH;
    case Outcome::kReply: {
      const extproc_status status = prepare_reply(what, call);
      write(state, "reply -> " + std::to_string(status));
      return status == EXTPROC_OK ? EXTPROC_REPLY : otherwise;
    }
    case Outcome::kFail:
      api_.fail(call, what.fail_code, abi("as planned"));
      return EXTPROC_FAIL;
    case Outcome::kThrow:
      throw std::runtime_error("as planned");
    case Outcome::kReplyWithoutReply:
      return EXTPROC_REPLY;
    case Outcome::kSuspendWithoutHandle:
      return EXTPROC_SUSPEND;
    case Outcome::kUnknownAction:
      return 99;
  }
  return EXTPROC_CONTINUE;
}

void PlannedPlugin::end(const State& state, const extproc_stream_end& end) {
  write(state, "end, reason " + std::to_string(end.reason));
}

extproc_status PlannedPlugin::take(const Step& step, extproc_call* call, std::uint32_t phase) {
  const std::uint32_t map =
      is_body(phase) ? phase - 1 : phase;  // in a body phase, the headers of its direction
  switch (step.kind) {
    case Step::Kind::kSet:
      return api_.header_set(call, map, abi(step.name), abi(step.value));
    case Step::Kind::kAdd:
      return api_.header_add(call, map, abi(step.name), abi(step.value));
    case Step::Kind::kRemove:
      return api_.header_remove(call, map, abi(step.name));
    case Step::Kind::kReplaceBody:
      return api_.replace_body(call, abi(step.value));
    case Step::Kind::kClearRouteCache:
      return api_.clear_route_cache(call);
    case Step::Kind::kMetadata:
      return metadata_.set_string(call, abi(kMetadataNamespace), abi(step.name), abi(step.value));
    case Step::Kind::kWrite:
      return body_.write(call, abi(step.value));
    case Step::Kind::kForward:
      return body_.forward(call, step.size);
    case Step::Kind::kDrop:
      return body_.drop(call, step.size);
    case Step::Kind::kSkip:
      return control_.skip(call, step.phases);
    case Step::Kind::kExtend:
      return control_.extend_timeout(call, step.size);
  }
  return EXTPROC_INVALID;
}

extproc_status PlannedPlugin::prepare_reply(const PhasePlan& what, extproc_call* call) {
  std::vector<extproc_header> headers;
  for (const auto& [name, value] : what.reply_headers) headers.push_back({abi(name), abi(value)});
  const std::string body = "reply of " + name_;
  const std::string details = name_ + "_replied";
  extproc_reply reply{};
  reply.struct_size = sizeof reply;
  reply.status = what.reply_status;
  reply.headers = headers.data();
  reply.headers_count = headers.size();
  reply.body = abi(body);
  reply.details = abi(details);
  reply.grpc_status = what.reply_grpc_status;
  return api_.reply(call, &reply);
}

std::string PlannedPlugin::seen(extproc_call* call, std::uint32_t phase) {
  if (is_body(phase)) {
    const extproc_str* slices = nullptr;
    std::size_t count = 0;
    if (api_.body(call, &slices, &count) != EXTPROC_OK) return "no body";
    const extproc_stream_facts& facts = *api_.facts(call);
    const std::uint32_t mode =
        phase == EXTPROC_REQUEST_BODY ? facts.request_body_mode : facts.response_body_mode;
    std::vector<std::string> pieces;
    for (std::size_t i = 0; i < count; ++i) pieces.push_back(text_of(slices[i]));
    return pieces_seen(pieces, mode == EXTPROC_BODY_GRPC);
  }
  return headers_seen(call, phase);
}

std::string PlannedPlugin::headers_seen(extproc_call* call, std::uint32_t phase) {
  const extproc_header* entries = nullptr;
  std::size_t count = 0;
  if (api_.headers(call, phase, &entries, &count) != EXTPROC_OK) return "no headers";
  Headers headers;
  for (std::size_t i = 0; i < count; ++i)
    headers.emplace_back(text_of(entries[i].name), text_of(entries[i].value));
  return to_string(headers);
}

PlannedChain::PlannedChain(std::vector<PluginPlan> plans, const ServerSetup& setup)
    : plans_(std::move(plans)), setup_(setup), generation_(std::make_shared<engine::Generation>()) {
  generation_->metrics = &metrics();
  generation_->config.server.limits.max_held_bytes = setup.max_held_bytes;
  config::DataPlane data_plane;
  data_plane.early_end = setup.early_end;
  data_plane.request_body_mode = stated(setup.stated_modes[0]);
  data_plane.response_body_mode = stated(setup.stated_modes[1]);
  constexpr double kMillisOfOne = 1000;
  data_plane.message_timeout = setup.message_timeout / kMillisOfOne;
  data_plane.max_message_timeout = setup.max_message_timeout / kMillisOfOne;
  engine::Chain& chain = generation_->chains.add(std::make_unique<engine::Chain>(
      "default", config::ResponseOrder::kReverse, data_plane, std::chrono::milliseconds(setup.deadline)));
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    PlannedPlugin& plugin = plugins_.emplace_back(i, plans_[i], notes_, registry());
    config::PhaseTimeouts timeouts{};
    std::ranges::transform(plans_[i].timeouts, timeouts.begin(),
                           [](std::uint32_t millis) { return millis / kMillisOfOne; });
    chain.add(plugin.descriptor(), &plugin, plugin.host(),
              {.on_error = plugin.plan().on_error,
               .deny_status = kDenyStatus,
               .max_body_bytes = plugin.plan().max_body_bytes,
               .timeouts = timeouts});
  }
  ignored_before_ = ignored_resumes();
}

std::string PlannedChain::leftovers() const {
  std::string text;
  const auto count = [&](const char* what, auto value) {
    if (value != 0)
      text += std::string(text.empty() ? "" : ", ") + what + " " +
              std::to_string(static_cast<std::int64_t>(value));
  };
  count("streams that wait", metrics().waiting.value());
  count("held bytes", metrics().held_bytes.value());
  for (const PlannedPlugin& plugin : plugins_) {
    count("streams that wait for a plugin", plugin.host().metrics().waiting->value());
    const auto* const held = plugin.host().metrics().held_bytes;
    if (held != nullptr) count("bytes that a plugin holds", held->value());
  }
  return text;
}

std::uint64_t PlannedChain::ignored_resumes() const {
  std::uint64_t sum = 0;
  for (const PlannedPlugin& plugin : plugins_) sum += plugin.host().metrics().ignored_resumes->value();
  return sum - ignored_before_;
}

}  // namespace extprocd::model
