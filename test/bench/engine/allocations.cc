#include "test/bench/engine/allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace {

// A thread's own: what threads share would be a part of what is measured.
thread_local uint64_t count;
thread_local int64_t live_bytes;

void* allocate(std::size_t size, std::size_t align) {
  void* const memory = align <= alignof(std::max_align_t)
                           ? std::malloc(size)
                           : std::aligned_alloc(align, (size + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  ++count;
  live_bytes += static_cast<int64_t>(malloc_usable_size(memory));
  return memory;
}

void release(void* memory) {
  live_bytes -= static_cast<int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace extprocd::bench {

Allocations allocations() { return {count, live_bytes}; }

}  // namespace extprocd::bench
