#include "host.h"

#include <utility>

namespace faulty {
namespace {

template <typename Api>
const Api* extension(const extproc_host& host, const char* name) {
  return static_cast<const Api*>(host.get_extension(&host, name));
}

}  // namespace

Host::Host(const extproc_host& host)
    : table(&host),
      config(extension<extproc_config_api>(host, EXTPROC_CONFIG_1)),
      metrics(extension<extproc_metrics_api>(host, EXTPROC_METRICS_1)),
      metadata(extension<extproc_metadata_api>(host, EXTPROC_METADATA_1)),
      metadata_2(extension<extproc_metadata_api_2>(host, EXTPROC_METADATA_2)),
      store(extension<extproc_store_api>(host, EXTPROC_STORE_1)),
      body(extension<extproc_body_api>(host, EXTPROC_BODY_1)),
      control(extension<extproc_control_api>(host, EXTPROC_CONTROL_1)),
      streamed_reply(extension<extproc_streamed_reply_api>(host, EXTPROC_STREAMED_REPLY_1)),
      async(extension<extproc_async_api>(host, EXTPROC_ASYNC_1)),
      work(extension<extproc_work_api>(host, EXTPROC_WORK_1)) {}

std::string Host::text_or(std::string_view key, std::string otherwise) const {
  const extproc_config_node* node = config->find(config->root(table), abi(key));
  extproc_str value{};
  if (node == nullptr) return otherwise;
  if (config->get_string(node, &value) == EXTPROC_OK) return std::string(view(value));
  config->error(table, node, abi("must be text"));
  return otherwise;
}

uint64_t Host::number_or(std::string_view key, uint64_t otherwise) const {
  const extproc_config_node* node = config->find(config->root(table), abi(key));
  int64_t value = 0;
  if (node == nullptr) return otherwise;
  if (config->get_integer(node, &value) == EXTPROC_OK && value >= 0) return static_cast<uint64_t>(value);
  config->error(table, node, abi("must be a number, 0 or more"));
  return otherwise;
}

extproc_metric* Host::counter(std::string_view name, std::string_view help) const {
  return metrics->counter(table, abi(name), abi(help), nullptr, 0);
}

std::string_view Host::request_header(extproc_call* call, std::string_view name) const {
  extproc_str value{};
  const auto found = table->header_get(call, EXTPROC_REQUEST_HEADERS, abi(name), &value);
  return found == EXTPROC_OK ? view(value) : std::string_view();
}

}  // namespace faulty
