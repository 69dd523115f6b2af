#pragma once

#include <optional>
#include <string_view>

#include <extproc/host.hpp>

namespace extproc {
inline namespace v1 {

/// Bytes under keys, one store per stream, shared by all plugins of its chain: how a plugin leaves something
/// for a later one or a later phase. Writes stay even if the callback fails afterwards. On a host without
/// stores nothing is found and writing is kUnsupported.
///
/// [stream]: use it only inside the callback in which you got it. Prefix keys with your plugin's id.
class Store {
 public:
  /// Made by the SDK.
  Store(const Host& host, extproc_call* call) noexcept : host_(&host), call_(call) {}

  /// Valid until that key is written or the callback ends.
  std::optional<std::string_view> get(std::string_view key) const noexcept {
    const extproc_store_api* api = host_->store_table();
    extproc_str value{};
    if (api == nullptr || api->get(call_, detail::to_abi(key), &value) != EXTPROC_OK) return std::nullopt;
    return detail::from_abi(value);
  }

  /// Throws Refused: kLimit over 64 KiB of keys and values in one stream.
  void set(std::string_view key, std::string_view value) {
    const Status status = try_set(key, value);
    if (status != Status::kOk) detail::check(status, "set in store", host_->table(), call_);
  }
  Status try_set(std::string_view key, std::string_view value) noexcept {
    const extproc_store_api* api = host_->store_table();
    if (api == nullptr) return Status::kUnsupported;
    return detail::to_status(api->set(call_, detail::to_abi(key), detail::to_abi(value)));
  }

  /// Returns whether it was there.
  bool remove(std::string_view key) noexcept {
    const extproc_store_api* api = host_->store_table();
    return api != nullptr && api->remove(call_, detail::to_abi(key)) == EXTPROC_OK;
  }

 private:
  const Host* host_;
  extproc_call* call_;
};

}  // namespace v1
}  // namespace extproc
