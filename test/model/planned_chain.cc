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
      metadata_(*static_cast<const extproc_metadata_api*>(api_.get_extension(&api_, EXTPROC_METADATA_1))) {
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.abi_major = EXTPROC_ABI_MAJOR;
  descriptor_.id = "test.planned";
  descriptor_.version = "1";
  descriptor_.phases = plan_.phases;
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
  write(state, phase_name(phase) + ((flags & EXTPROC_END_OF_STREAM) != 0 ? " eos" : "") + " sees " +
                   seen(call, phase));
  for (const Step& step : what.steps) {
    write(state, to_string(step) + " -> " + std::to_string(take(step, call, phase)));
  }
  if (state.calls[phase]++ != what.outcome_at) return EXTPROC_CONTINUE;
  switch (what.outcome) {
    case Outcome::kContinue:
      return EXTPROC_CONTINUE;
    case Outcome::kFinish:
      return EXTPROC_FINISH;
    case Outcome::kReply: {
      const extproc_status status = prepare_reply(what, call);
      write(state, "reply -> " + std::to_string(status));
      return status == EXTPROC_OK ? EXTPROC_REPLY : EXTPROC_CONTINUE;
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
  switch (step.kind) {
    case Step::Kind::kSet:
      return api_.header_set(call, phase, abi(step.name), abi(step.value));
    case Step::Kind::kAdd:
      return api_.header_add(call, phase, abi(step.name), abi(step.value));
    case Step::Kind::kRemove:
      return api_.header_remove(call, phase, abi(step.name));
    case Step::Kind::kReplaceBody:
      return api_.replace_body(call, abi(step.value));
    case Step::Kind::kClearRouteCache:
      return api_.clear_route_cache(call);
    case Step::Kind::kMetadata:
      return metadata_.set_string(call, abi(kMetadataNamespace), abi(step.name), abi(step.value));
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
    std::string body;
    for (std::size_t i = 0; i < count; ++i) body += text_of(slices[i]);
    return readable(body);
  }
  const extproc_header* entries = nullptr;
  std::size_t count = 0;
  if (api_.headers(call, phase, &entries, &count) != EXTPROC_OK) return "no headers";
  Headers headers;
  for (std::size_t i = 0; i < count; ++i)
    headers.emplace_back(text_of(entries[i].name), text_of(entries[i].value));
  return to_string(headers);
}

PlannedChain::PlannedChain(const std::vector<PluginPlan>& plans)
    : generation_(std::make_shared<engine::Generation>()) {
  generation_->metrics = &metrics();
  config::DataPlane data_plane;
  data_plane.early_end = false;
  engine::Chain& chain = generation_->chains.add(
      std::make_unique<engine::Chain>("default", config::ResponseOrder::kReverse, data_plane));
  for (std::size_t i = 0; i < plans.size(); ++i) {
    PlannedPlugin& plugin = plugins_.emplace_back(i, plans[i], logs_, registry());
    chain.add(plugin.descriptor(), &plugin, plugin.host(), plugin.plan().on_error, kDenyStatus);
  }
}

}  // namespace extprocd::model
