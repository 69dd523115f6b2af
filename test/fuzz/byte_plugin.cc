#include "test/fuzz/byte_plugin.h"

#include <array>
#include <chrono>
#include <limits>
#include <stdexcept>

#include "test/fuzz/judging_sink.h"

namespace extprocd::fuzz {
namespace {

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }

/// Names that meet the rules' corners; others come from the program.
constexpr std::array<std::string_view, 10> kNames = {"x-a",     "x-b",  "content-length", ":path", ":status",
                                                     ":method", "host", "x-envoy-a",      "",      "Upper"};

/// Operations that have to do with waiting.
enum : uint8_t {
  kSuspends = 1,
  kAsksForHandle,
  kResumesAny,
  kSetsTimer,
  kTakesTime,
  kResumesUnknown,
  kSuspendsAndResumes
};

/// Makes the sanitizers look at every byte that a view covers.
void touch(const extproc_str& text) {
  volatile char sum = 0;
  for (std::size_t i = 0; i < text.size; ++i) sum = static_cast<char>(sum + text.data[i]);
}

}  // namespace

BytePlugin::BytePlugin(std::string name, uint32_t request_access, uint32_t response_access,
                       telemetry::Registry& registry) {
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.id = "test.bytes";
  descriptor_.version = "1";
  descriptor_.phases = (1U << EXTPROC_PHASE_COUNT) - 1;
  descriptor_.request_body_access = request_access;
  descriptor_.response_body_access = response_access;
  descriptor_.stream_state_size = 40;
  descriptor_.stream_state_align = 16;
  descriptor_.stream_begin = [](void* self, void*, extproc_call* call,
                                const extproc_stream_facts* facts) -> extproc_action {
    touch(facts->peer);
    touch(facts->chain);
    auto& plugin = *static_cast<BytePlugin*>(self);
    require(plugin.run_->waits == nullptr, "no plugin begins while one waits");
    if (plugin.run_->program.byte() == 255) throw std::runtime_error("in stream_begin");
    plugin.look(call);
    ++plugin.run_->begun;
    return EXTPROC_CONTINUE;
  };
  descriptor_.on_phase = [](void* self, void*, extproc_call* call, uint32_t phase, uint32_t) {
    auto& plugin = *static_cast<BytePlugin*>(self);
    require(plugin.run_->waits == nullptr, "no plugin is called while one waits");
    require(!plugin.run_->over, "no plugin is called when the stream is over");
    return plugin.answer(call, phase);
  };
  descriptor_.on_resumed = [](void* self, void*, extproc_call* call, uint32_t phase, uint32_t, uint64_t) {
    auto& plugin = *static_cast<BytePlugin*>(self);
    require(plugin.run_->waits == self, "who is resumed waits");
    plugin.run_->waits = nullptr;
    return plugin.answer(call, phase);
  };
  descriptor_.on_cancelled = [](void* self, void*, extproc_call* call, uint32_t, uint32_t reason) {
    auto& plugin = *static_cast<BytePlugin*>(self);
    require(plugin.run_->waits == self, "whose wait is cancelled waits");
    plugin.run_->waits = nullptr;
    plugin.run_->over = reason == EXTPROC_CANCEL_STREAM_OVER;
    plugin.run(call, EXTPROC_PHASE_COUNT);
  };
  descriptor_.stream_end = [](void* self, void*, extproc_call* call, const extproc_stream_end*) {
    auto& plugin = *static_cast<BytePlugin*>(self);
    require(plugin.run_->waits == nullptr, "who waits is told before it is told of the end");
    require(plugin.run_->begun-- > 0, "a plugin is told of the end once");
    plugin.run_->over = true;
    plugin.run(call, EXTPROC_PHASE_COUNT);
  };
  config::Plugin entry;
  entry.name = std::move(name);
  host_ = std::make_unique<engine::PluginHost>(entry, "", descriptor_.id, descriptor_.phases, registry);
}

std::string_view BytePlugin::text() {
  const uint8_t size = run_->program.byte();
  return size < kNames.size() ? kNames[size] : run_->program.text(size - kNames.size());
}

/// Runs a callback that may wait.
extproc_action BytePlugin::answer(extproc_call* call, uint32_t phase) {
  handle_ = 0;
  const extproc_action action = run(call, phase);
  if (action == EXTPROC_SUSPEND && handle_ != 0) run_->waits = this;
  return action;
}

extproc_action BytePlugin::run(extproc_call* call, uint32_t phase) {
  while (!run_->program.empty()) {
    const uint8_t op = run_->program.byte();
    switch (op & 0x1f) {
      case 0:
        return EXTPROC_CONTINUE;
      case 1:
        return EXTPROC_FINISH;
      case 2:
        return EXTPROC_REPLY;
      case 3:
        return EXTPROC_FAIL;
      case 4:
        return op < 0x80 ? EXTPROC_HOLD : op;  // an answer that there is not
      case 5:
        throw std::runtime_error(std::string(text()));
      case 6:
        throw op;
      case 31:
        wait(op >> 5, call);
        if (op >> 5 == kSuspends || op >> 5 == kSuspendsAndResumes) return EXTPROC_SUSPEND;
        break;
      default:
        host_call(op & 0x1f, call, phase);
    }
  }
  return EXTPROC_CONTINUE;
}

void BytePlugin::host_call(uint8_t which, extproc_call* call, uint32_t phase) {
  const extproc_host& host = *host_->table();
  const auto* metadata =
      static_cast<const extproc_metadata_api*>(host.get_extension(&host, EXTPROC_METADATA_1));
  const auto* store = static_cast<const extproc_store_api*>(host.get_extension(&host, EXTPROC_STORE_1));
  extproc_str value{};
  switch (which) {
    case 7:
    case 8:
      host.header_set(call, phase, abi(text()), abi(text()));
      break;
    case 9:
      host.header_set(call, run_->program.byte(), abi(text()), abi(text()));
      break;
    case 10:
      host.header_add(call, phase, abi(text()), abi(text()));
      break;
    case 11:
      host.header_remove(call, phase, abi(text()));
      break;
    case 12:
      if (host.header_get(call, run_->program.byte(), abi(text()), &value) == EXTPROC_OK) touch(value);
      break;
    case 13:
      look(call);
      break;
    case 14:
      host.replace_body(call, abi(text()));
      break;
    case 15: {
      const extproc_header header{abi(text()), abi(text())};
      extproc_reply reply{};
      reply.struct_size = sizeof reply;
      reply.status = run_->program.number();
      reply.headers = &header;
      reply.headers_count = run_->program.byte() & 1;
      reply.body = abi(text());
      reply.details = abi(text());
      host.reply(call, &reply);
      break;
    }
    case 16:
      host.fail(call, run_->program.byte(), abi(text()));
      break;
    case 17:
      host.clear_route_cache(call);
      break;
    case 18:
      metadata->set_string(call, abi(text()), abi(text()), abi(text()));
      break;
    case 19:
      metadata->set_number(call, abi(text()), abi(text()), std::numeric_limits<double>::quiet_NaN());
      break;
    case 20:
      if (metadata->attribute(call, abi(text()), &value) == EXTPROC_OK) touch(value);
      break;
    case 21:
      if (metadata->metadata(call, abi(text()), abi(text()), &value) == EXTPROC_OK) touch(value);
      break;
    case 22:
      store->set(call, abi(text()), abi(text()));
      break;
    case 23:
      if (store->get(call, abi(text()), &value) == EXTPROC_OK) touch(value);
      store->remove(call, abi(text()));
      break;
    case 24:
    case 25:
    case 26:
      body_call(which, call);
      break;
    case 27:
      ask_for_control(call);
      break;
    case 28:
    case 29:
    case 30:
      reply_in_pieces(which, call);
      break;
    default:
      break;
  }
}

/// What has to do with waiting; which of it is told by the high bits of an operation.
void BytePlugin::wait(uint8_t which, extproc_call* call) {
  const auto& handles = run_->handles;
  extproc_resume_handle handle = 0;
  switch (which) {
    case kSuspends:
    case kAsksForHandle:
    case kSuspendsAndResumes:
      if (async().suspend(call, &handle) != EXTPROC_OK) break;
      require(handle_ == 0, "a callback gets one handle");
      handle_ = handle;
      run_->handles.emplace_back(this, handle);
      if (which == kSuspendsAndResumes)
        require(resume(handle, 0) == EXTPROC_OK && resume(handle, 0) == EXTPROC_NOT_FOUND,
                "a new handle can be resumed, once");
      break;
    case kResumesAny:
      if (handles.empty()) break;
      resume(handles[run_->program.byte() % handles.size()].second, run_->program.byte());
      break;
    case kSetsTimer:
      async().resume_after(call, handle_,
                           std::chrono::nanoseconds(std::chrono::milliseconds(run_->program.byte())).count(),
                           0);
      break;
    case kTakesTime:
      if (run_->time != nullptr) *run_->time += std::chrono::milliseconds(run_->program.byte());
      break;
    case kResumesUnknown:
      handle = run_->program.number();
      if (async().is_waiting(host_->table(), handle) == 0)
        require(resume(handle, 0) == EXTPROC_NOT_FOUND, "nobody is resumed who does not wait");
      break;
    default:
      touch(host_->table()->last_error(call));
  }
}

/// Sizes around those of the body at hand, and all of it.
void BytePlugin::body_call(uint8_t which, extproc_call* call) {
  const extproc_host& host = *host_->table();
  const auto& body = *static_cast<const extproc_body_api*>(host.get_extension(&host, EXTPROC_BODY_1));
  if (which == 24) {
    body.write(call, abi(text()));
    return;
  }
  const uint8_t size = run_->program.byte();
  (which == 25 ? body.forward : body.drop)(call, size == 255 ? SIZE_MAX : size);
}

void BytePlugin::ask_for_control(extproc_call* call) {
  const extproc_host& host = *host_->table();
  const auto& control =
      *static_cast<const extproc_control_api*>(host.get_extension(&host, EXTPROC_CONTROL_1));
  const uint8_t phases = run_->program.byte();
  if (phases < 0x80) {
    control.skip(call, phases);
  } else {
    control.extend_timeout(call, run_->program.number());
  }
}

void BytePlugin::reply_in_pieces(uint8_t which, extproc_call* call) {
  const extproc_host& host = *host_->table();
  const auto& pieces =
      *static_cast<const extproc_streamed_reply_api*>(host.get_extension(&host, EXTPROC_STREAMED_REPLY_1));
  if (which == 29) {
    pieces.write(call, abi(text()));
    return;
  }
  const extproc_header header{abi(text()), abi(text())};
  if (which == 30) {
    pieces.end(call, &header, run_->program.byte() & 1);
    return;
  }
  extproc_reply reply{};
  reply.struct_size = sizeof reply;
  reply.status = 200 + (run_->program.byte() & 0x3f);
  reply.grpc_status = -1;
  reply.headers = &header;
  reply.headers_count = run_->program.byte() & 1;
  reply.body = abi(text());
  pieces.begin(call, &reply);
}

void BytePlugin::look(extproc_call* call) {
  const extproc_host& host = *host_->table();
  for (uint32_t map = 0; map <= EXTPROC_PHASE_COUNT; ++map) {
    const extproc_header* entries = nullptr;
    std::size_t count = 0;
    if (host.headers(call, map, &entries, &count) != EXTPROC_OK) continue;
    for (std::size_t i = 0; i < count; ++i) {
      touch(entries[i].name);
      touch(entries[i].value);
    }
  }
  const extproc_str* slices = nullptr;
  std::size_t count = 0;
  if (host.body(call, &slices, &count) != EXTPROC_OK) return;
  for (std::size_t i = 0; i < count; ++i) touch(slices[i]);
}

}  // namespace extprocd::fuzz
