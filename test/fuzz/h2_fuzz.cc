// Any bytes and any frames into a connection of the native transport, with streams behind it that do all that the seam
// allows: they are told everything once and in order, what the client gets is HTTP/2 and gRPC, and nothing is left over.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <sys/socket.h>

#include "core/telemetry/log.h"
#include "core/telemetry/metrics.h"
#include "core/telemetry/registry.h"
#include "core/transport/h2/channel.h"
#include "core/transport/h2/loop.h"
#include "core/transport/h2/shared.h"
#include "core/transport/services.h"
#include "test/fuzz/h2_peer.h"
#include "test/fuzz/h2_script.h"
#include "test/fuzz/input.h"

namespace extprocd::fuzz {
namespace {

using transport::Descriptor;
using transport::Services;

/// What all conversations have in common.
class Surroundings {
 public:
  Surroundings() {
    telemetry::init_log("off", "text");
    auto factory = std::make_unique<ScriptFactory>();
    factory_ = factory.get();
    services_.add(std::string(Services::kProcess), std::move(factory));
  }

  /// Limits, large or so small that they are met.
  transport::H2Options options(uint8_t choice) {
    transport::H2Options options;
    options.metrics = &metrics_;
    if ((choice & 1) != 0) options.max_message_size = 5000;
    if ((choice & 2) != 0) options.max_header_list_size = 500;
    if ((choice & 4) != 0) options.max_streams_per_connection = 4;
    if ((choice & 8) != 0) options.max_streams = 3;
    if ((choice & 16) != 0) options.max_resets_per_second = 5;
    if ((choice & 32) != 0) options.max_control_frames_per_second = 5;
    options.idle_timeout = std::chrono::seconds(60);
    options.keepalive_interval = std::chrono::seconds(30);
    options.keepalive_timeout = std::chrono::seconds(10);
    if ((choice & 64) != 0) options.max_connection_age = std::chrono::seconds(100);
    if ((choice & 64) != 0) options.max_connection_age_grace = std::chrono::seconds(50);
    return options;
  }
  [[nodiscard]] const Services& services() const { return services_; }
  [[nodiscard]] ScriptFactory& factory() { return *factory_; }

 private:
  telemetry::Registry registry_{1};
  telemetry::Metrics metrics_{registry_};
  Services services_;
  ScriptFactory* factory_;
};

void converse(Surroundings& surroundings, Input& input) {
  const uint8_t limits = input.byte();
  const bool greets = input.byte() < 0xf0;
  Script script(input.text(input.byte()));
  surroundings.factory().set_script(&script);
  transport::h2::Shared shared(surroundings.services(), surroundings.options(limits));
  {
    transport::h2::Loop loop(shared);
    auto now = transport::h2::Loop::Clock::now();
    int sockets[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) == 0, "sockets");
    shared.connections.fetch_add(1);
    loop.adopt(transport::h2::make_plain_channel(Descriptor(sockets[0])), "unix:");
    loop.run_ready();
    {
      H2Peer peer(Descriptor(sockets[1]), script,
                  {.turn = [&loop] { loop.run_ready(); },
                   .pass =
                       [&](int seconds) {
                         now += std::chrono::seconds(seconds);
                         loop.tick(now);
                       },
                   .drain = [&loop] { loop.drain(); }});
      peer.play(input, greets);
      peer.conclude();
    }
    loop.run_ready();
    loop.close_all();
    loop.run_ready();
    require(loop.load() == 0, "no connection is left");
  }
  for (const auto& executor : script.executors)
    executor->post([] { require(false, "no work runs behind the end"); });
  require(shared.connections == 0, "connections are counted right");
  require(shared.streams == 0, "streams are counted right");
  for (const auto& life : script.lives) require(life->destroyed, "every stream is destroyed");
}

}  // namespace
}  // namespace extprocd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace extprocd;
  static fuzz::Surroundings surroundings;
  fuzz::Input input({reinterpret_cast<const char*>(data), size});
  fuzz::converse(surroundings, input);
  return 0;
}
