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
                config::FailurePolicy on_error, uint32_t deny_status, const config::When* when,
                uint64_t max_body_bytes) {
  const std::size_t align = std::max<std::size_t>(descriptor.stream_state_align, 1);
  const std::size_t offset = (state_size_ + align - 1) / align * align;
  const std::array access = {descriptor.request_body_access, descriptor.response_body_access};
  links_.push_back({&descriptor, instance, &host, on_error, deny_status, when, offset, max_body_bytes, access,
                    body_types(descriptor)});
  state_size_ = offset + descriptor.stream_state_size;
  phases_ |= descriptor.phases;
  for (std::size_t i = 0; i < access.size(); ++i) body_access_[i] = std::max(body_access_[i], access[i]);
}

}  // namespace extprocd::engine
