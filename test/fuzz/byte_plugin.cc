#include "test/fuzz/byte_plugin.h"

#include <array>
#include <limits>
#include <stdexcept>

namespace extprocd::fuzz {
namespace {

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }

/// Names that meet the rules' corners; others come from the program.
constexpr std::array<std::string_view, 10> kNames = {"x-a",     "x-b",  "content-length", ":path", ":status",
                                                     ":method", "host", "x-envoy-a",      "",      "Upper"};

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
    return static_cast<BytePlugin*>(self)->program_->byte() == 255
               ? throw std::runtime_error("in stream_begin")
               : (static_cast<BytePlugin*>(self)->look(call), EXTPROC_CONTINUE);
  };
  descriptor_.on_phase = [](void* self, void*, extproc_call* call, uint32_t phase, uint32_t) {
    return static_cast<BytePlugin*>(self)->run(call, phase);
  };
  descriptor_.stream_end = [](void* self, void*, extproc_call* call, const extproc_stream_end*) {
    static_cast<BytePlugin*>(self)->run(call, EXTPROC_PHASE_COUNT);
  };
  config::Plugin entry;
  entry.name = std::move(name);
  host_ = std::make_unique<engine::PluginHost>(entry, "", descriptor_.id, descriptor_.phases, registry);
}

std::string_view BytePlugin::text() {
  const uint8_t size = program_->byte();
  return size < kNames.size() ? kNames[size] : program_->text(size - kNames.size());
}

extproc_action BytePlugin::run(extproc_call* call, uint32_t phase) {
  while (!program_->empty()) {
    const uint8_t op = program_->byte();
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
      host.header_set(call, program_->byte(), abi(text()), abi(text()));
      break;
    case 10:
      host.header_add(call, phase, abi(text()), abi(text()));
      break;
    case 11:
      host.header_remove(call, phase, abi(text()));
      break;
    case 12:
      if (host.header_get(call, program_->byte(), abi(text()), &value) == EXTPROC_OK) touch(value);
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
      reply.status = program_->number();
      reply.headers = &header;
      reply.headers_count = program_->byte() & 1;
      reply.body = abi(text());
      reply.details = abi(text());
      host.reply(call, &reply);
      break;
    }
    case 16:
      host.fail(call, program_->byte(), abi(text()));
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
      touch(host.last_error(call));
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
  const uint8_t size = program_->byte();
  (which == 25 ? body.forward : body.drop)(call, size == 255 ? SIZE_MAX : size);
}

void BytePlugin::ask_for_control(extproc_call* call) {
  const extproc_host& host = *host_->table();
  const auto& control =
      *static_cast<const extproc_control_api*>(host.get_extension(&host, EXTPROC_CONTROL_1));
  const uint8_t phases = program_->byte();
  if (phases < 0x80) {
    control.skip(call, phases);
  } else {
    control.extend_timeout(call, program_->number());
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
    pieces.end(call, &header, program_->byte() & 1);
    return;
  }
  extproc_reply reply{};
  reply.struct_size = sizeof reply;
  reply.status = 200 + (program_->byte() & 0x3f);
  reply.grpc_status = -1;
  reply.headers = &header;
  reply.headers_count = program_->byte() & 1;
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
