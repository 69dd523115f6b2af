#include "test/model/disturbance.h"

#include <utility>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

namespace extprocd::model {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;

/// Neither bytes nor an end: no data plane sends it, and there are two ways to answer it.
bool is_nothing(const envoy::service::ext_proc::v3::HttpBody& body) {
  return body.body().empty() && !body.end_of_stream();
}

/// Would two correct readers agree on these bytes, one of which does not look into attributes and metadata?
bool unambiguous(const std::string& bytes) {
  ProcessingRequest message;
  const bool read = message.ParseFromString(bytes);
  if (read && message.has_request_body() && is_nothing(message.request_body())) return false;
  if (read && message.has_response_body() && is_nothing(message.response_body())) return false;
  if (read) return !message.has_flow_control_init() && !message.has_client_window_update();
  constexpr char kMetadataTag = 0x42;
  constexpr char kAttributesTag = 0x4a;
  return bytes.find(kMetadataTag) == std::string::npos && bytes.find(kAttributesTag) == std::string::npos;
}

std::string without_lazy_parts(const std::string& bytes) {
  ProcessingRequest message;
  message.ParseFromString(bytes);
  message.clear_attributes();
  message.clear_metadata_context();
  return message.SerializeAsString();
}

std::string truncated(const std::string& bytes, Random& random) {
  return bytes.substr(0, random.below(bytes.size() + 1));
}

std::string flipped(std::string bytes, Random& random) {
  if (bytes.empty()) return bytes;
  const std::size_t at = random.below(bytes.size());
  bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
  return bytes;
}

std::string garbage(Random& random) {
  std::string bytes;
  for (std::size_t i = random.between(1, 30); i > 0; --i) bytes += static_cast<char>(random.below(256));
  return bytes;
}

void insert(std::vector<std::string>& messages, std::size_t at, std::string message) {
  messages.insert(messages.begin() + static_cast<std::ptrdiff_t>(at), std::move(message));
}

}  // namespace

std::string disturb(std::vector<std::string>& messages, Random& random) {
  if (messages.empty()) return "nothing to disturb";
  const std::size_t at = random.below(messages.size());
  switch (random.below(8)) {
    case 0:
      insert(messages, random.between(at, messages.size()), messages[at]);
      return "duplicate";
    case 1:
      std::swap(messages[at], messages[random.below(messages.size())]);
      return "out of order";
    case 2:
      messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(at));
      return "missing";
    case 3:
      messages.push_back(messages[at]);
      return "after the end";
    case 4:
      insert(messages, at, std::string());
      return "empty";
    default:
      break;
  }
  const std::size_t way = random.below(3);
  while (true) {
    const std::string plain = without_lazy_parts(messages[at]);
    std::string broken = way == 0   ? truncated(plain, random)
                         : way == 1 ? flipped(plain, random)
                                    : garbage(random);
    if (!unambiguous(broken)) continue;
    messages[at] = std::move(broken);
    return way == 0 ? "truncated" : way == 1 ? "flipped bit" : "garbage";
  }
}

}  // namespace extprocd::model
