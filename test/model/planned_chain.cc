#include "test/model/planned_chain.h"

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

PlannedPlugin::PlannedPlugin(std::size_t position, PluginPlan plan, Logs& logs, telemetry::Registry& of_host)
    : name_("p" + std::to_string(position)),
      plan_(std::move(plan)),
      logs_(logs),
      host_([&] {
        config::Plugin entry;
        entry.name = name_;
        return std::make_unique<engine::PluginHost>(entry, "model.toml", "test.planned", plan_.phases,
                                                    of_host);
      }()),
      api_(*host_->table()),
      metadata_(*static_cast<const extproc_metadata_api*>(api_.get_extension(&api_, EXTPROC_METADATA_1))),
      body_(*static_cast<const extproc_body_api*>(api_.get_extension(&api_, EXTPROC_BODY_1))),
      control_(*static_cast<const extproc_control_api*>(api_.get_extension(&api_, EXTPROC_CONTROL_1))) {
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
  descriptor_.stream_end = [](void* instance, void* state, extproc_call*, const extproc_stream_end* end) {
    static_cast<PlannedPlugin*>(instance)->end(*static_cast<State*>(state), *end);
  };
}

extproc_action PlannedPlugin::begin(State& state, extproc_call* call, const extproc_stream_facts& facts) {
  state = {facts.id, {}};
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
  if (has_bit(what.busy, number)) {
    for (const Step& step : what.steps) {
      write(state, to_string(step) + " -> " + std::to_string(take(step, call, phase)));
    }
    if (is_body(phase) && !what.steps.empty()) {
      write(state, "headers now " + headers_seen(call, phase - 1));
    }
  }
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
  engine::Chain& chain = generation_->chains.add(
      std::make_unique<engine::Chain>("default", config::ResponseOrder::kReverse, data_plane));
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    PlannedPlugin& plugin = plugins_.emplace_back(i, plans_[i], logs_, registry());
    chain.add(plugin.descriptor(), &plugin, plugin.host(),
              {.on_error = plugin.plan().on_error,
               .deny_status = kDenyStatus,
               .max_body_bytes = plugin.plan().max_body_bytes});
  }
}

}  // namespace extprocd::model
