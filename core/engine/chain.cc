#include "core/engine/chain.h"

#include <algorithm>

namespace extprocd::engine {

namespace {

/// Of a descriptor that may be older than the fields.
std::array<const char* const*, 2> body_types(const extproc_plugin& descriptor) {
  if (!EXTPROC_HAS(&descriptor, extproc_plugin, response_body_types)) return {};
  return {descriptor.request_body_types, descriptor.response_body_types};
}

}  // namespace

void Chain::add(const extproc_plugin& descriptor, void* instance, PluginHost& host,
                const LinkOptions& options) {
  const std::size_t align = std::max<std::size_t>(descriptor.stream_state_align, 1);
  ChainLink& link = links_.emplace_back();
  link.descriptor = &descriptor;
  link.instance = instance;
  link.host = &host;
  link.on_error = options.on_error;
  link.deny_status = options.deny_status;
  link.when = options.when;
  link.state_offset = (state_size_ + align - 1) / align * align;
  link.max_body_bytes = options.max_body_bytes;
  link.access = {descriptor.request_body_access, descriptor.response_body_access};
  link.body_types = body_types(descriptor);
  std::ranges::transform(options.timeouts, link.timeouts.begin(), to_duration);
  link.resumes = EXTPROC_HAS(&descriptor, extproc_plugin, on_resumed) && descriptor.on_resumed != nullptr;
  link.workers = options.workers;
  // Otherwise its state has to outlive the stream.
  if (link.workers == nullptr) state_size_ = link.state_offset + descriptor.stream_state_size;
  phases_ |= descriptor.phases;
  for (std::size_t i = 0; i < link.access.size(); ++i) {
    body_access_[i] = std::max(body_access_[i], link.access[i]);
  }
}

}  // namespace extprocd::engine
