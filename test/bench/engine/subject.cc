#include "test/bench/engine/subject.h"

#include <array>
#include <cstdio>
#include <cstdlib>

#include "core/server/generation_builder.h"

namespace extprocd::bench {
namespace {

constexpr std::size_t kPrefix = 5;  // of a gRPC message: a flag, and the length in four bytes

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "engine: %s\n", why.c_str());
  std::exit(1);
}

config::Config config_of(const Case& one) {
  config::Config config;
  if (one.overloaded) {
    config.server.overload.max_streams = 1;
    config.server.overload.policy = config::FailurePolicy::kDeny;
  }
  config.plugins.directory = BENCH_PLUGINS;
  config.data_plane.early_end = false;  // each script is answered to its end
  for (const std::string& module : one.modules) {
    config::Plugin& plugin = config.plugin.emplace_back();
    plugin.name = module + "-" + std::to_string(config.plugin.size());
    plugin.module = module + ".so";
  }
  return config;
}

}  // namespace

std::vector<std::string> messages_of(const Script& script) {
  std::vector<std::string> messages;
  for (const Step& step : script.steps) {
    for (std::size_t at = 0; at < step.frames.size();) {
      std::size_t size = 0;
      for (std::size_t i = 1; i < kPrefix; ++i)
        size = size << 8 | static_cast<unsigned char>(step.frames[at + i]);
      messages.push_back(step.frames.substr(at + kPrefix, size));
      at += kPrefix + size;
    }
  }
  return messages;
}

void CopyingSink::send(const wire::Pieces& message) {
  ++messages_;
  buffer_.clear();
  for (const std::string_view piece : message.list()) buffer_ += piece;
}

void CopyingSink::finish(const absl::Status& status) {
  if (!status.ok()) give_up("a stream ended with " + status.ToString());
}

Subject::Subject(Case what) : case_(std::move(what)), messages_(messages_of(Script(case_.script))) {
  auto staging = plugin::Staging::create("");
  if (!staging.ok()) give_up(staging.status().ToString());
  modules_ = std::make_unique<plugin::ModuleRegistry>(std::move(*staging), engine::PluginHost::extensions());
  server::BuildResult built = server::build_generation(config_of(case_), *modules_, registry_, metrics_);
  if (case_.overloaded) {
    messages_.resize(1);
    metrics_.streams_active.begin();  // one that stays open
  }
  for (const auto& error : built.errors) give_up(error.to_string());
  service_ = std::make_unique<engine::ProcessService>(std::move(built.generation));
}

std::size_t Subject::message_bytes() const {
  std::size_t bytes = 0;
  for (const std::string& message : messages_) bytes += message.size();
  return bytes;
}

std::unique_ptr<engine::ServerStream> Subject::open(engine::Sink& sink) {
  // What Envoy sends with `envoy_grpc`, but for what belongs to HTTP/2 itself.
  static constexpr std::array<engine::MetadataEntry, 2> kMetadata = {
      {{"x-envoy-internal", "true"}, {"x-forwarded-for", "192.0.2.2"}}};
  return service_->open(sink, {.peer = "ipv4:127.0.0.1:41236", .metadata = kMetadata});
}

void Subject::run(std::size_t streams) {
  CopyingSink sink;
  for (std::size_t i = 0; i < streams; ++i) {
    const auto stream = open(sink);
    for (const std::string& message : messages_) stream->receive(engine::Message::borrow(message));
    stream->half_closed();
  }
  if (sink.messages() < streams * messages_.size()) give_up(case_.name + ": replies are missing");
}

std::unique_ptr<engine::ServerStream> Subject::open_idle(CopyingSink& sink) {
  auto stream = open(sink);
  stream->receive(engine::Message::borrow(messages_.front()));
  return stream;
}

}  // namespace extprocd::bench
