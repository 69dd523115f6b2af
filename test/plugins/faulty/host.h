#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <extproc/abi.h>

namespace faulty {

/// With every resume.
inline constexpr uint64_t kToken = 0x0123'4567'89ab'cdef;

inline extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view view(const extproc_str& text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

/// All that the host offers; what it lacks is null.
struct Host {
  explicit Host(const extproc_host& table);

  const extproc_host* table;
  const extproc_config_api* config;
  const extproc_metrics_api* metrics;
  const extproc_metadata_api* metadata;
  const extproc_metadata_api_2* metadata_2;
  const extproc_store_api* store;
  const extproc_body_api* body;
  const extproc_control_api* control;
  const extproc_streamed_reply_api* streamed_reply;
  const extproc_async_api* async;
  const extproc_work_api* work;

  // Of the configuration; a value of another type is an error of the file.
  [[nodiscard]] std::string text_or(std::string_view key, std::string otherwise) const;
  [[nodiscard]] uint64_t number_or(std::string_view key, uint64_t otherwise) const;

  [[nodiscard]] extproc_metric* counter(std::string_view name, std::string_view help) const;
  void count(extproc_metric* metric, double amount = 1) const { metrics->add(metric, amount); }

  /// A request header, empty if it is not there.
  [[nodiscard]] std::string_view request_header(extproc_call* call, std::string_view name) const;
};

}  // namespace faulty
