#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "core/http/arena.h"

namespace extprocd::http {

/// A growing array in an arena. Growing leaves its old place unused until the arena goes: reserve() where the size
/// is known. The arena outlives it and is the same at every call.
template <typename T>
class ArenaVector {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] T* begin() const { return data_; }
  [[nodiscard]] T* end() const { return data_ + size_; }
  [[nodiscard]] T& back() const { return data_[size_ - 1]; }
  [[nodiscard]] std::span<const T> span() const { return {data_, size_}; }

  void reserve(std::size_t capacity, Arena& arena) {
    if (capacity <= capacity_) return;
    T* const larger = arena.allocate_array<T>(capacity);
    std::copy(begin(), end(), larger);
    data_ = larger;
    capacity_ = static_cast<uint32_t>(capacity);
  }
  void push_back(const T& value, Arena& arena) {
    const T copy = value;  // it may be one of ours
    if (size_ == capacity_) reserve(std::max<std::size_t>(2 * capacity_, 4), arena);
    std::construct_at(data_ + size_++, copy);
  }
  /// Takes over a copy of `values`, which may not be a part of this. The second time that it is too small it gets room
  /// to spare: what is assigned again and again mostly grows.
  void assign(std::span<const T> values, Arena& arena) {
    if (values.size() > capacity_) {
      cut(begin());
      reserve(std::max<std::size_t>(values.size(), 2 * capacity_), arena);
    }
    std::copy(values.begin(), values.end(), data_);
    size_ = static_cast<uint32_t>(values.size());
  }
  /// Drops what is at `end` and behind.
  void cut(const T* end) { size_ = static_cast<uint32_t>(end - data_); }

 private:
  T* data_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace extprocd::http
