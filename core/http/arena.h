#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace extprocd::http {

/// Memory that lives as long as one stream: what plugins add, and their per-stream state. Nothing is freed
/// before the whole. One thread at a time.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    while (blocks_ != nullptr) ::operator delete(std::exchange(blocks_, blocks_->next));
  }

  /// Uninitialised memory, never null; `align` is a power of two.
  void* allocate(std::size_t size, std::size_t align) {
    const uintptr_t begin = aligned(at_, align);
    if (begin > end_ || size > end_ - begin || blocks_ == nullptr) return allocate_in_new_block(size, align);
    at_ = begin + size;
    return reinterpret_cast<void*>(begin);
  }
  /// Lets the next allocations, of so many bytes together, come out of one block.
  void reserve(std::size_t size) {
    if (size > end_ - at_) begin_block(size);
  }
  /// The same for an array.
  template <typename T>
  T* allocate_array(std::size_t count) {
    return static_cast<T*>(allocate(count * sizeof(T), alignof(T)));
  }

  /// A copy of the bytes, valid as long as the arena.
  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    auto* target = allocate_array<char>(bytes.size());
    std::memcpy(target, bytes.data(), bytes.size());
    return {target, bytes.size()};
  }

 private:
  struct alignas(std::max_align_t) Block {
    Block* next;
  };
  // Small, because most streams need little and many may be open; then larger ones for those that need more.
  static constexpr std::size_t kFirstBlock = 256;
  static constexpr std::size_t kLargestBlock = std::size_t{16} * 1024;

  static uintptr_t aligned(uintptr_t at, std::size_t align) { return (at + align - 1) & ~(align - 1); }

  void* allocate_in_new_block(std::size_t size, std::size_t align) {
    const std::size_t needed = size + align;
    // What fills a block by itself gets one, and the one in use stays in use.
    if (needed > next_block_ / 2) {
      return reinterpret_cast<void*>(aligned(reinterpret_cast<uintptr_t>(add_block(needed)), align));
    }
    begin_block(needed);
    return allocate(size, align);
  }

  void begin_block(std::size_t least) {
    const std::size_t size = std::max(least, next_block_);
    at_ = reinterpret_cast<uintptr_t>(add_block(size));
    end_ = at_ + size;
    next_block_ = std::min(2 * next_block_, kLargestBlock);
  }

  /// Where a new block's memory begins.
  void* add_block(std::size_t size) {
    auto* const block = static_cast<Block*>(::operator new(sizeof(Block) + size));
    block->next = blocks_;
    blocks_ = block;
    return block + 1;
  }

  uintptr_t at_ = 0;  // of the free bytes of the block in use
  uintptr_t end_ = 0;
  Block* blocks_ = nullptr;
  std::size_t next_block_ = kFirstBlock;
};

}  // namespace extprocd::http
