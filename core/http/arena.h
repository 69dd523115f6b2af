#pragma once

#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <string_view>

namespace extprocd::http {

/// Memory that lives as long as one stream: what plugins add, and their per-stream state. Nothing is freed
/// before the whole. One thread at a time.
class Arena {
 public:
  /// Uninitialised memory; `align` is a power of two.
  void* allocate(std::size_t size, std::size_t align) { return memory_.allocate(size, align); }

  /// A copy of the bytes, valid as long as the arena.
  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    auto* target = static_cast<char*>(memory_.allocate(bytes.size(), 1));
    std::memcpy(target, bytes.data(), bytes.size());
    return {target, bytes.size()};
  }

 private:
  std::pmr::monotonic_buffer_resource memory_{512, std::pmr::new_delete_resource()};
};

}  // namespace extprocd::http
