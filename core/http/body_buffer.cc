#include "core/http/body_buffer.h"

#include <utility>

namespace extprocd::http {

void BodyBuffer::add(extproc_str view, Owner owner) {
  if (view.size == 0 && !of_messages_) return;
  size_ += view.size;
  views_.push_back(view);
  owners_.push_back(std::move(owner));
}

void BodyBuffer::add_borrowed(std::string_view bytes, bool compressed) {
  add({bytes.data(), bytes.size()}, {nullptr, compressed});
}

void BodyBuffer::add_copy(std::string_view bytes) {
  auto copy = std::make_shared<const std::string>(bytes);
  add({copy->data(), copy->size()}, {copy, false});
}

void BodyBuffer::add_between(const BodyBuffer& from, Place begin, Place end) {
  for (std::size_t i = begin.slice; i < from.views_.size() && i <= end.slice; ++i) {
    const std::size_t first = i == begin.slice ? begin.offset : 0;
    const std::size_t last = i == end.slice ? end.offset : from.views_[i].size;
    if (i == end.slice && last == 0) break;
    add({from.views_[i].data + first, last - first}, from.owners_[i]);
  }
}

void BodyBuffer::add(BodyBuffer&& other) {
  if (views_.empty()) {
    std::swap(views_, other.views_);
    std::swap(owners_, other.owners_);
    std::swap(size_, other.size_);
    return;
  }
  add_between(other, {}, other.end());
  other.clear();
}

BodyBuffer::Place BodyBuffer::advance(Place from, std::size_t size) const {
  if (size == 0 && from.slice < views_.size() && views_[from.slice].size == 0) return {from.slice + 1, 0};
  while (size > 0 && from.slice < views_.size()) {
    const std::size_t left = views_[from.slice].size - from.offset;
    if (size < left) return {from.slice, from.offset + size};
    size -= left;
    from = {from.slice + 1, 0};
  }
  // To take all is to take empty messages at the end too.
  return size > 0 ? end() : from;
}

std::size_t BodyBuffer::size_from(Place place) const {
  std::size_t bytes = 0;
  for (std::size_t i = place.slice; i < views_.size(); ++i) bytes += views_[i].size;
  return bytes - place.offset;
}

void BodyBuffer::own() {
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (owners_[i].bytes != nullptr) continue;
    owners_[i].bytes = std::make_shared<const std::string>(views_[i].data, views_[i].size);
    views_[i].data = owners_[i].bytes->data();
  }
}

BodyBuffer BodyBuffer::share() const {
  BodyBuffer other(of_messages_);
  other.size_ = size_;
  other.views_ = views_;
  other.owners_ = owners_;
  return other;
}

std::string_view BodyBuffer::joined() {
  if (views_.empty()) return {};
  if (views_.size() > 1) {
    auto all = std::make_shared<std::string>();
    all->reserve(size_);
    for (const extproc_str& view : views_) all->append(view.data, view.size);
    views_.assign(1, {all->data(), all->size()});
    owners_.assign(1, {std::move(all), false});
  }
  return {views_[0].data, views_[0].size};
}

void BodyBuffer::clear() {
  views_.clear();
  owners_.clear();
  size_ = 0;
}

}  // namespace extprocd::http
