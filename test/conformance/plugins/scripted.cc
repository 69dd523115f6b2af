// A plugin that does what its configuration says, phase by phase, against the C contract alone. SCRIPTED_ACCESS is the
// access to both bodies, by which the modules of this source differ; SCRIPTED_TYPES the request bodies that it needs.
#include <chrono>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "script.h"
#include <extproc/abi.h>

namespace scripted {
namespace {

/// A host call that was refused.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr std::uint32_t kInternal = 13;

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }
std::string text_of(const extproc_str& text) {
  return text.size == 0 ? "" : std::string(text.data, text.size);
}

bool is_request(std::uint32_t phase) { return phase <= EXTPROC_REQUEST_TRAILERS; }
bool is_body(std::uint32_t phase) { return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY; }
std::uint32_t index(std::uint32_t phase) { return is_request(phase) ? 0 : 1; }

/// Of a stream, in the host's memory. Nothing in it needs a destructor.
struct State {
  std::uint64_t pieces[2];  // of each body, so far
  std::uint64_t bytes[2];
  std::size_t replied;  // pieces of a reply in pieces
  bool replying;
};

class Plugin {
 public:
  explicit Plugin(const extproc_host& host)
      : host_(host),
        script_(Script::read(host, SCRIPTED_ACCESS)),
        metadata_(extension<extproc_metadata_api>(EXTPROC_METADATA_1)),
        body_(extension<extproc_body_api>(EXTPROC_BODY_1)),
        control_(extension<extproc_control_api>(EXTPROC_CONTROL_1)),
        streamed_(extension<extproc_streamed_reply_api>(EXTPROC_STREAMED_REPLY_1)) {}

  extproc_action on_phase(State& state, extproc_call* call, std::uint32_t phase, std::uint32_t flags) {
    const PhaseScript& script = script_.phase[phase];
    if (is_body(phase)) return on_body(script, state, call, phase, flags);
    take_steps(script, state, call, phase);
    const extproc_action action = end(script, state, call, (flags & EXTPROC_END_OF_STREAM) != 0);
    return action == EXTPROC_CONTINUE && script.hold ? EXTPROC_HOLD : action;
  }
  const extproc_host& host() const { return host_; }

 private:
  template <typename Api>
  const Api* extension(const char* name) const {
    return static_cast<const Api*>(host_.get_extension(&host_, name));
  }

  template <typename Api>
  static const Api& need(const Api* api, const char* name) {
    if (api == nullptr) throw Refused(std::string("the host has no ") + name);
    return *api;
  }

  extproc_action on_body(const PhaseScript& script, State& state, extproc_call* call, std::uint32_t phase,
                         std::uint32_t flags) {
    const bool last = (flags & EXTPROC_END_OF_BODY) != 0;
    const extproc_str* slices = nullptr;
    std::size_t count = 0;
    check(call, "body", host_.body(call, &slices, &count), script);
    const std::uint64_t before = state.bytes[index(phase)];
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < count; ++i) size += slices[i].size;
    const std::uint64_t piece = ++state.pieces[index(phase)];
    if (state.replying) return go_on_replying(state, call, last);

    extproc_action action = EXTPROC_CONTINUE;
    if (script.at == 0 ? last : piece == script.at) {
      state.bytes[index(phase)] = before + size;
      take_steps(script, state, call, phase);
      action = end(script, state, call, last);
    }
    if (action != EXTPROC_CONTINUE && action != EXTPROC_FINISH) return action;
    const bool keeps = change(script, call, phase, piece, last, {slices, count});
    if (!keeps) state.bytes[index(phase)] = before + size;
    return keeps && action == EXTPROC_CONTINUE ? EXTPROC_HOLD : action;
  }

  struct Slices {
    const extproc_str* data;
    std::size_t count;
  };

  /// Makes the changes of the body. True: what was not passed on is kept for the next piece.
  bool change(const PhaseScript& script, extproc_call* call, std::uint32_t phase, std::uint64_t piece,
              bool last, const Slices& slices) {
    const BodyScript& body = script.body;
    if (!body.changes()) return false;
    const extproc_body_api& api = need(body_, EXTPROC_BODY_1);
    bool keeps = false;
    if (body.hold != 0) {
      keeps = piece < body.hold && !last;
    } else if (body.clear) {
      check(call, "drop", api.drop(call, SIZE_MAX), script);
    } else if (body.replace) {
      keeps = replace(script, api, call, phase, last, slices);
    } else if (body.recut != 0) {
      keeps = recut(script, api, call, last, slices);
    }
    if (!last || body.append.empty()) return keeps;
    check(call, "forward", api.forward(call, SIZE_MAX), script);
    check(call, "write", api.write(call, abi(body.append)), script);
    return false;
  }

  bool replace(const PhaseScript& script, const extproc_body_api& api, extproc_call* call,
               std::uint32_t phase, bool last, const Slices& slices) {
    const extproc_stream_facts* facts = host_.facts(call);
    const std::uint32_t mode = is_request(phase) ? facts->request_body_mode : facts->response_body_mode;
    if (mode == EXTPROC_BODY_GRPC) {
      // A slice is a gRPC message, and goes on as one.
      for (std::size_t i = 0; i < slices.count; ++i)
        replace_in(script, api, call, text_of(slices.data[i]), true);
      return false;
    }
    std::string all;
    for (std::size_t i = 0; i < slices.count; ++i) all += text_of(slices.data[i]);
    const std::size_t left = replace_in(script, api, call, all, false);
    // The beginning of one more may stand at the end.
    const std::size_t most = script.body.replace->first.size() - 1;
    if (SCRIPTED_ACCESS != EXTPROC_ACCESS_STREAM || last || most == 0) return false;
    if (left > most) check(call, "forward", api.forward(call, left - most), script);
    return left > 0;
  }

  /// Bytes behind the last place, of which nothing was said yet.
  std::size_t replace_in(const PhaseScript& script, const extproc_body_api& api, extproc_call* call,
                         const std::string& text, bool as_message) {
    const auto& [old, fresh] = *script.body.replace;
    if (as_message) {
      std::string changed = text;
      for (std::size_t at = 0; (at = changed.find(old, at)) != std::string::npos; at += fresh.size()) {
        changed.replace(at, old.size(), fresh);
      }
      if (changed == text) return check(call, "forward", api.forward(call, text.size()), script), 0;
      check(call, "drop", api.drop(call, text.size()), script);
      check(call, "write", api.write(call, abi(changed)), script);
      return 0;
    }
    std::size_t from = 0;
    for (std::size_t at = 0; (at = text.find(old, from)) != std::string::npos; from = at + old.size()) {
      check(call, "forward", api.forward(call, at - from), script);
      check(call, "drop", api.drop(call, old.size()), script);
      check(call, "write", api.write(call, abi(fresh)), script);
    }
    return text.size() - from;
  }

  bool recut(const PhaseScript& script, const extproc_body_api& api, extproc_call* call, bool last,
             const Slices& slices) {
    std::size_t left = 0;
    for (std::size_t i = 0; i < slices.count; ++i) left += slices.data[i].size;
    for (; left >= script.body.recut; left -= script.body.recut) {
      check(call, "forward", api.forward(call, script.body.recut), script);
    }
    return left > 0 && !last;
  }

  void take_steps(const PhaseScript& script, const State& state, extproc_call* call, std::uint32_t phase) {
    const std::uint32_t map = is_body(phase) ? phase - 1 : phase;
    // First, for it unlocks :method.
    if (script.replace_body)
      check(call, "replace_body", host_.replace_body(call, abi(*script.replace_body)), script);
    for (const Copy& copy : script.copy) {
      const std::string value = look_up(copy, state, call, phase);
      check(call, "set " + copy.header, host_.header_set(call, map, abi(copy.header), abi(value)), script);
    }
    for (const auto& [name, value] : script.set) {
      check(call, "set " + name, host_.header_set(call, map, abi(name), abi(value)), script);
    }
    for (const auto& [name, value] : script.add) {
      check(call, "add " + name, host_.header_add(call, map, abi(name), abi(value)), script);
    }
    for (const std::string& name : script.remove) {
      check(call, "remove " + name, host_.header_remove(call, map, abi(name)), script);
    }
    for (const Metadata& entry : script.metadata)
      check(call, "metadata " + entry.key, set(entry, call), script);
    if (script.clear_route_cache) check(call, "clear_route_cache", host_.clear_route_cache(call), script);
    if (script.sleep != 0) std::this_thread::sleep_for(std::chrono::milliseconds(script.sleep));
    if (script.skip != 0)
      check(call, "skip", need(control_, EXTPROC_CONTROL_1).skip(call, script.skip), script);
    if (script.extend_timeout) {
      check(call, "extend_timeout",
            need(control_, EXTPROC_CONTROL_1).extend_timeout(call, *script.extend_timeout), script);
    }
  }

  std::string look_up(const Copy& copy, const State& state, extproc_call* call, std::uint32_t phase) {
    extproc_str value{};
    extproc_status found = EXTPROC_NOT_FOUND;
    if (copy.kind == "attribute") {
      found = need(metadata_, EXTPROC_METADATA_1).attribute(call, abi(copy.name), &value);
    } else if (copy.kind == "metadata") {
      found = need(metadata_, EXTPROC_METADATA_1).metadata(call, abi(copy.name), abi(copy.detail), &value);
    } else if (copy.kind == "header") {
      found = host_.header_get(call, is_request(phase) ? EXTPROC_REQUEST_HEADERS : EXTPROC_RESPONSE_HEADERS,
                               abi(copy.name), &value);
    } else if (copy.kind == "facts") {
      const extproc_stream_facts* facts = host_.facts(call);
      return std::to_string(facts->request_body_mode) + "/" + std::to_string(facts->response_body_mode);
    } else {
      return std::to_string(state.bytes[index(phase)]);
    }
    return found == EXTPROC_OK ? text_of(value) : "(none)";
  }

  extproc_status set(const Metadata& entry, extproc_call* call) const {
    const extproc_metadata_api& api = need(metadata_, EXTPROC_METADATA_1);
    switch (entry.type) {
      case Metadata::Type::kNumber:
        return api.set_number(call, abi(entry.name_space), abi(entry.key), entry.number);
      case Metadata::Type::kBool:
        return api.set_bool(call, abi(entry.name_space), abi(entry.key), entry.flag ? 1 : 0);
      default:
        return api.set_string(call, abi(entry.name_space), abi(entry.key), abi(entry.text));
    }
  }

  extproc_action end(const PhaseScript& script, State& state, extproc_call* call, bool last) {
    if (script.fail) {
      host_.fail(call, script.fail->code, abi(script.fail->text));
      return EXTPROC_FAIL;
    }
    if (script.raise) throw std::runtime_error(*script.raise);
    if (script.finish) return EXTPROC_FINISH;
    if (!script.reply) return EXTPROC_CONTINUE;
    return reply(script, state, call, last) ? EXTPROC_REPLY : EXTPROC_CONTINUE;
  }

  static std::vector<extproc_header> list(const Headers& headers) {
    std::vector<extproc_header> list;
    for (const auto& [name, value] : headers) list.push_back({abi(name), abi(value)});
    return list;
  }

  /// False: the host refused it, which this script passes over.
  bool reply(const PhaseScript& script, State& state, extproc_call* call, bool last) {
    const Reply& what = *script.reply;
    const auto headers = list(what.headers);
    const bool in_pieces = !what.pieces.empty();
    extproc_reply reply{};
    reply.struct_size = sizeof reply;
    reply.status = what.status;
    reply.headers = headers.data();
    reply.headers_count = what.headers.size();
    reply.body = abi(in_pieces ? what.pieces[0] : what.body);
    reply.details = abi(what.details);
    reply.grpc_status = what.grpc_status;
    if (!in_pieces) return check(call, "reply", host_.reply(call, &reply), script);
    const extproc_streamed_reply_api& api = need(streamed_, EXTPROC_STREAMED_REPLY_1);
    if (!check(call, "begin", api.begin(call, &reply), script)) return false;
    state.replied = 1;
    state.replying = true;
    if (!what.with_body || last) finish_replying(state, call);
    return true;
  }

  /// With each piece of the request's body one of the reply's, and the others at its end.
  extproc_action go_on_replying(State& state, extproc_call* call, bool last) {
    const PhaseScript& script = script_.phase[EXTPROC_REQUEST_HEADERS];
    if (last) {
      finish_replying(state, call);
    } else if (state.replied < script.reply->pieces.size()) {
      check(call, "write", streamed_->write(call, abi(script.reply->pieces[state.replied++])), script);
    }
    return EXTPROC_CONTINUE;
  }

  void finish_replying(State& state, extproc_call* call) {
    const PhaseScript& script = script_.phase[EXTPROC_REQUEST_HEADERS];
    for (; state.replied < script.reply->pieces.size(); ++state.replied) {
      check(call, "write", streamed_->write(call, abi(script.reply->pieces[state.replied])), script);
    }
    const auto trailers = list(script.reply->trailers);
    check(call, "end", streamed_->end(call, trailers.data(), script.reply->trailers.size()), script);
  }

  bool check(extproc_call* call, const std::string& what, extproc_status status,
             const PhaseScript& script) const {
    if (status == EXTPROC_OK) return true;
    if (script.ignore_refusals) return false;
    throw Refused(what + ": " + text_of(host_.last_error(call)));
  }

  const extproc_host& host_;
  const Script script_;
  const extproc_metadata_api* metadata_;
  const extproc_body_api* body_;
  const extproc_control_api* control_;
  const extproc_streamed_reply_api* streamed_;
};

extproc_status create(const extproc_host* host, void** instance) {
  *instance = new Plugin(*host);
  return EXTPROC_OK;
}
void destroy(void* instance) { delete static_cast<Plugin*>(instance); }

extproc_action stream_begin(void*, void* state, extproc_call*, const extproc_stream_facts*) {
  ::new (state) State{};
  return EXTPROC_CONTINUE;
}

extproc_action on_phase(void* instance, void* state, extproc_call* call, std::uint32_t phase,
                        std::uint32_t flags) {
  auto& plugin = *static_cast<Plugin*>(instance);
  try {
    return plugin.on_phase(*static_cast<State*>(state), call, phase, flags);
  } catch (const Refused& refused) {
    plugin.host().fail(call, kInternal, abi(refused.what()));
    return EXTPROC_FAIL;
  }
}

}  // namespace
}  // namespace scripted

extern "C" const extproc_plugin* extproc_plugin_entry_v1(void);
extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) {
  static constexpr std::uint32_t kBodies =
      EXTPROC_PHASE_BIT(EXTPROC_REQUEST_BODY) | EXTPROC_PHASE_BIT(EXTPROC_RESPONSE_BODY);
  static extproc_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = EXTPROC_ABI_MAJOR;
  plugin.abi_minor = EXTPROC_ABI_MINOR;
  plugin.id = "test.scripted";
  plugin.version = "1.0.0";
  plugin.phases = (1U << EXTPROC_PHASE_COUNT) - 1;
  if (SCRIPTED_ACCESS == EXTPROC_ACCESS_NONE) plugin.phases &= ~kBodies;
  plugin.request_body_access = SCRIPTED_ACCESS;
  plugin.response_body_access = SCRIPTED_ACCESS;
  plugin.stream_state_size = sizeof(scripted::State);
  plugin.stream_state_align = alignof(scripted::State);
  plugin.create = &scripted::create;
  plugin.destroy = &scripted::destroy;
  plugin.stream_begin = &scripted::stream_begin;
  plugin.on_phase = &scripted::on_phase;
#ifdef SCRIPTED_TYPES
  static const char* const kTypes[] = {SCRIPTED_TYPES, nullptr};
  plugin.request_body_types = kTypes;
  plugin.response_body_types = kTypes;
#endif
  return &plugin;
}
