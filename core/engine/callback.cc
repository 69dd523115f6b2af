#include "core/engine/callback.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string_view>

#include "core/http/utf8.h"
#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

/// Of a callback whose failure changes nothing any more.
void log_if_failed(const extproc_call& call, extproc_action action, const std::string& where) {
  if (action != EXTPROC_FAIL) return;
  log_failure(*call.link.host,
              "failed " + where + " of stream " + std::to_string(call.facts->id) + ": " + failure_text(call));
}

}  // namespace

bool call_begin(extproc_call& call, void* state, const extproc_stream_facts& facts) {
  const ChainLink& link = call.link;
  if (link.descriptor->stream_begin == nullptr) return true;
  return guarded_callback(call, [&] {
           return link.descriptor->stream_begin(link.instance, state, &call, &facts);
         }) == EXTPROC_CONTINUE;
}

void call_cancelled(extproc_call& call, void* state, uint32_t reason) {
  const ChainLink& link = call.link;
  if (!has_on_cancelled(*link.descriptor)) return;
  const extproc_action action = guarded_callback(call, [&]() -> extproc_action {
    link.descriptor->on_cancelled(link.instance, state, &call, call.phase, reason);
    return EXTPROC_CONTINUE;
  });
  log_if_failed(call, action, "in on_cancelled");
}

void call_end(extproc_call& call, void* state, const extproc_stream_end& info) {
  const ChainLink& link = call.link;
  if (link.descriptor->stream_end == nullptr) return;
  const extproc_action action = guarded_callback(call, [&]() -> extproc_action {
    link.descriptor->stream_end(link.instance, state, &call, &info);
    return EXTPROC_CONTINUE;
  });
  log_if_failed(call, action, "at the end");
}

std::string failure_text(const extproc_call& call) {
  constexpr std::size_t kMost = 1024;
  if (call.failure_text.empty()) return "failed without a text";
  std::string text = http::repair_utf8(std::string_view(call.failure_text).substr(0, kMost));
  std::size_t size = std::min(text.size(), kMost);
  const auto inside_character = [&] {
    return size < text.size() && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80;
  };
  while (inside_character()) --size;
  text.resize(size);
  return text;
}

void log_failure(const PluginHost& host, std::string text) {
  telemetry::RateLimit& limit = host.failure_log_limit();
  if (!limit.allow()) return;
  if (const uint64_t held_back = limit.take_suppressed(); held_back > 0) {
    text += " (" + std::to_string(held_back) + " earlier failures were not logged)";
  }
  telemetry::log(telemetry::Level::kWarn, host.log_name(), text);
}

std::string to_text(Duration time) {
  std::array<char, 32> text{};
  const double millis = std::chrono::duration<double, std::milli>(time).count();
  const auto end = std::to_chars(text.data(), text.data() + text.size(), millis).ptr;
  return std::string(text.data(), end) + "ms";
}

std::string too_late_text(Duration timeout) { return "did not answer within " + to_text(timeout); }

}  // namespace extprocd::engine
