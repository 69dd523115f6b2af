#include "core/engine/chain.h"

#include <algorithm>

namespace extprocd::engine {

void Chain::add(const extproc_plugin& descriptor, void* instance, PluginHost& host,
                config::FailurePolicy on_error, uint32_t deny_status, const config::When* when) {
  const std::size_t align = std::max<std::size_t>(descriptor.stream_state_align, 1);
  const std::size_t offset = (state_size_ + align - 1) / align * align;
  links_.push_back({&descriptor, instance, &host, on_error, deny_status, when, offset});
  state_size_ = offset + descriptor.stream_state_size;
  phases_ |= descriptor.phases;
}

}  // namespace extprocd::engine
