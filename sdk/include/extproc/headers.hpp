#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <extproc/status.hpp>

namespace extproc {
inline namespace v1 {

/// One entry of a header map, borrowed: valid until the next edit of that map or the end of the callback.
struct Header {
  std::string_view name;   ///< lower case
  std::string_view value;  ///< any bytes
};

/// The entries of a header map or of gRPC metadata, in order. Valid as long as its entries, see where you got
/// it.
class HeaderRange {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Header;
    using difference_type = std::ptrdiff_t;
    using pointer = const Header*;
    using reference = Header;

    iterator() noexcept = default;
    explicit iterator(const extproc_header* entry) noexcept : entry_(entry) {}

    Header operator*() const noexcept {
      return {detail::from_abi(entry_->name), detail::from_abi(entry_->value)};
    }
    iterator& operator++() noexcept {
      ++entry_;
      return *this;
    }
    iterator operator++(int) noexcept { return iterator(entry_++); }
    friend bool operator==(iterator a, iterator b) noexcept { return a.entry_ == b.entry_; }
    friend bool operator!=(iterator a, iterator b) noexcept { return a.entry_ != b.entry_; }

   private:
    const extproc_header* entry_ = nullptr;
  };
  using const_iterator = iterator;

  HeaderRange() noexcept = default;
  HeaderRange(const extproc_header* entries, std::size_t count) noexcept : entries_(entries), count_(count) {}

  iterator begin() const noexcept { return iterator(entries_); }
  iterator end() const noexcept { return iterator(count_ == 0 ? entries_ : entries_ + count_); }
  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }

 private:
  const extproc_header* entries_ = nullptr;
  std::size_t count_ = 0;
};

namespace detail {

constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

inline bool same_name(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return to_lower(x) == to_lower(y); });
}

}  // namespace detail

/// Read access to one header map of a stream, as the plugins before this one left it. Names are matched
/// without regard to ASCII case. A map that has not come on this stream looks empty.
///
/// [stream]: use it only inside the callback in which you got it; keep no copy of it. What it hands out is
/// valid until the next edit of that map or the end of the callback.
class Headers {
 public:
  /// `map` is EXTPROC_REQUEST_HEADERS, ...; host and call outlive the object. Made by the SDK.
  Headers(const extproc_host* host, extproc_call* call, std::uint32_t map) noexcept
      : host_(host), call_(call), map_(map) {}

  /// Has this map come on this stream?
  bool present() const noexcept {
    const extproc_header* entries = nullptr;
    std::size_t count = 0;
    return host_->headers(call_, map_, &entries, &count) == EXTPROC_OK;
  }

  /// All entries in order. Editing the map makes them invalid: collect names first, then edit.
  HeaderRange entries() const noexcept {
    const extproc_header* entries = nullptr;
    std::size_t count = 0;
    if (host_->headers(call_, map_, &entries, &count) != EXTPROC_OK) return {};
    return {entries, count};
  }
  HeaderRange::iterator begin() const noexcept { return entries().begin(); }
  HeaderRange::iterator end() const noexcept { return entries().end(); }
  std::size_t size() const noexcept { return entries().size(); }
  bool empty() const noexcept { return size() == 0; }

  /// The first value of a header.
  std::optional<std::string_view> first(std::string_view name) const noexcept {
    extproc_str value{};
    if (host_->header_get(call_, map_, detail::to_abi(name), &value) != EXTPROC_OK) return std::nullopt;
    return detail::from_abi(value);
  }

  /// All values of a header, in order.
  std::vector<std::string_view> all(std::string_view name) const {
    std::vector<std::string_view> values;
    for (const Header header : entries()) {
      if (detail::same_name(header.name, name)) values.push_back(header.value);
    }
    return values;
  }

  bool contains(std::string_view name) const noexcept { return first(name).has_value(); }

  /// Why the last host call of this callback was refused. Valid until the next host call.
  std::string_view last_error() const noexcept { return detail::from_abi(host_->last_error(call_)); }

 protected:
  const extproc_host* host() const noexcept { return host_; }
  extproc_call* call() const noexcept { return call_; }
  std::uint32_t map() const noexcept { return map_; }

 private:
  const extproc_host* host_;
  extproc_call* call_;
  std::uint32_t map_;
};

/// A header map that can be edited: that of the current phase, or in a body callback that of the direction's
/// headers while they are held. Each edit exists twice: `set` throws Refused if
/// the host refuses, `try_set` returns the Status. A refused edit changes nothing. Names and values are
/// copied by the host.
///
/// Refusals: kInvalid for bytes that are not allowed, kForbidden for names that the data plane would not
/// change (host, :method, x-envoy-* by default), kLimit for too many headers, kTooLate when the data
/// plane has its headers back: for trailers, and for headers that are not held, outside the map's own phase.
class HeaderMap : public Headers {
 public:
  using Headers::Headers;

  /// Replaces all values of a name with this one, or adds it.
  void set(std::string_view name, std::string_view value) { check("set", name, try_set(name, value)); }
  Status try_set(std::string_view name, std::string_view value) noexcept {
    return detail::to_status(host()->header_set(call(), map(), detail::to_abi(name), detail::to_abi(value)));
  }

  /// Adds one more value. Not for names that begin with ':'.
  void add(std::string_view name, std::string_view value) { check("add", name, try_add(name, value)); }
  Status try_add(std::string_view name, std::string_view value) noexcept {
    return detail::to_status(host()->header_add(call(), map(), detail::to_abi(name), detail::to_abi(value)));
  }

  /// Removes all values. No error where there is none: the data plane may have withheld the header, so the
  /// removal is sent all the same.
  void remove(std::string_view name) { check("remove", name, try_remove(name)); }
  Status try_remove(std::string_view name) noexcept {
    return detail::to_status(host()->header_remove(call(), map(), detail::to_abi(name)));
  }

  /// Sets the header if it is not there. Returns whether it was set. Throws Refused.
  bool set_if_absent(std::string_view name, std::string_view value) {
    if (contains(name)) return false;
    set(name, value);
    return true;
  }

  /// Sets the header if it is there. Returns whether it was set. Throws Refused.
  bool set_if_present(std::string_view name, std::string_view value) {
    if (!contains(name)) return false;
    set(name, value);
    return true;
  }

 private:
  void check(std::string_view verb, std::string_view name, Status status) const {
    if (status == Status::kOk) return;
    std::string what(verb);
    what.append(" '").append(name.substr(0, 100)).append("'");
    detail::check(status, what, host(), call());
  }
};

}  // namespace v1
}  // namespace extproc
