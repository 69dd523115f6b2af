#include "core/engine/suspensions.h"

#include <utility>

namespace extprocd::engine {
namespace {

constexpr unsigned kUseShift = 32;

Suspensions::Handle handle_of(std::size_t place, uint32_t use) {
  return (Suspensions::Handle{use} << kUseShift) | place;
}

}  // namespace

Suspensions::Handle Suspensions::open(std::shared_ptr<Executor> executor, Waiter& waiter) {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(places_.size()));
    places_.emplace_back();
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  Place& place = places_[number];
  place.resumed = false;
  place.executor = std::move(executor);
  place.waiter = &waiter;
  return handle_of(number, place.use);
}

const Suspensions::Place* Suspensions::find(Handle handle) const {
  const auto number = static_cast<uint32_t>(handle);
  if (number >= places_.size()) return nullptr;
  const Place& place = places_[number];
  return place.executor != nullptr && handle_of(number, place.use) == handle ? &place : nullptr;
}

Suspensions::Place* Suspensions::find(Handle handle) {
  return const_cast<Place*>(std::as_const(*this).find(handle));
}

bool Suspensions::resume(Handle handle, uint64_t token) {
  std::shared_ptr<Executor> executor;
  Waiter* waiter = nullptr;
  {
    const std::lock_guard lock(mutex_);
    Place* const place = find(handle);
    if (place == nullptr || place->resumed) return false;
    place->resumed = true;
    executor = place->executor;
    waiter = place->waiter;
  }
  executor->post([this, waiter, handle, token] { waiter->resumed(*this, handle, token); });
  return true;
}

bool Suspensions::claim(Handle handle) {
  const std::lock_guard lock(mutex_);
  Place* const place = find(handle);
  if (place == nullptr || place->resumed) return false;
  return place->resumed = true;
}

bool Suspensions::is_waiting(Handle handle) const {
  const std::lock_guard lock(mutex_);
  const Place* const place = find(handle);
  return place != nullptr && !place->resumed;
}

bool Suspensions::close(Handle handle) {
  std::shared_ptr<Executor> dropped;  // outside of the lock
  const std::lock_guard lock(mutex_);
  Place* const place = find(handle);
  if (place == nullptr) return false;
  const bool waited = !place->resumed;
  dropped = std::move(place->executor);
  place->executor = nullptr;
  place->waiter = nullptr;
  if (++place->use == 0) place->use = 1;
  free_.push_back(static_cast<uint32_t>(handle));
  return waited;
}

}  // namespace extprocd::engine
