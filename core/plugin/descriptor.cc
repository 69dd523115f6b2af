#include "core/plugin/descriptor.h"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace extprocd::plugin {
namespace {

constexpr uint32_t kAllPhases = (1U << EXTPROC_PHASE_COUNT) - 1;
constexpr uint32_t kMaxState = 64 * 1024;
constexpr uint32_t kMaxAlign = 64;

absl::Status refuse(const std::string& text) { return absl::FailedPreconditionError(text); }

std::string version_text(uint32_t major, uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

bool is_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && id[0] >= 'a' && id[0] <= 'z' &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
         });
}

absl::Status check_body_access(const extproc_plugin& descriptor) {
  for (const auto& [access, phase, name] :
       {std::tuple(descriptor.request_body_access, EXTPROC_REQUEST_BODY, "request"),
        std::tuple(descriptor.response_body_access, EXTPROC_RESPONSE_BODY, "response")}) {
    if (access > EXTPROC_ACCESS_STREAM) {
      return refuse(
          "found " + std::string(name) + "_body_access " + std::to_string(access) +
          ", which this host does not know: build the plugin against this host's SDK, or update the host");
    }
    const bool wants_phase = (descriptor.phases & EXTPROC_PHASE_BIT(phase)) != 0;
    if (wants_phase != (access != EXTPROC_ACCESS_NONE)) {
      return refuse("found that " + std::string(name) + "_body_access and the " + name +
                    " body phase disagree");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status check_descriptor(const extproc_plugin* descriptor,
                              const std::vector<std::string_view>& extensions) {
  if (descriptor == nullptr)
    return refuse("found that " EXTPROC_ENTRY_SYMBOL " returns null instead of a descriptor");
  if (!EXTPROC_HAS(descriptor, extproc_plugin, abi_minor)) {
    return refuse("found a descriptor of " + std::to_string(descriptor->struct_size) +
                  " bytes, too small for a version");
  }
  const std::string found = version_text(descriptor->abi_major, descriptor->abi_minor);
  const std::string own = version_text(EXTPROC_ABI_MAJOR, EXTPROC_ABI_MINOR);
  const bool has_build_info =
      EXTPROC_HAS(descriptor, extproc_plugin, build_info) && descriptor->build_info != nullptr;
  const std::string built = has_build_info ? " (built with " + std::string(descriptor->build_info) + ")" : "";
  if (descriptor->abi_major != EXTPROC_ABI_MAJOR) {
    return refuse("found contract version " + found + built + "; this host speaks " + own +
                  ": rebuild the plugin against this host's SDK");
  }
  if (descriptor->abi_minor > EXTPROC_ABI_MINOR) {
    return refuse("found that it needs contract version " + found + built + " or newer; this host speaks " +
                  own + ": update the host, or build the plugin for an older one");
  }
  if (!EXTPROC_HAS(descriptor, extproc_plugin, stream_end)) {
    return refuse("found a descriptor of " + std::to_string(descriptor->struct_size) + " bytes; version " +
                  own + " has at least " + std::to_string(offsetof(extproc_plugin, attributes)) +
                  ": set struct_size to sizeof(extproc_plugin)");
  }
  if (descriptor->id == nullptr || !is_id(descriptor->id)) {
    return refuse(
        "found an id that is not of lower-case letters, digits, '.', '-' and '_', beginning with a letter");
  }
  if (descriptor->version == nullptr) return refuse("found no version in the descriptor");
  if (descriptor->create == nullptr || descriptor->destroy == nullptr || descriptor->on_phase == nullptr) {
    return refuse("found that create, destroy or on_phase is null; all three are required");
  }
  if ((descriptor->phases & ~kAllPhases) != 0) {
    return refuse(
        "found phases that this host does not know: update the host, or build the plugin for an older one");
  }
  if (descriptor->stream_state_size > kMaxState) {
    return refuse("found stream_state_size " + std::to_string(descriptor->stream_state_size) + "; at most " +
                  std::to_string(kMaxState) + " bytes are given to a stream");
  }
  const uint32_t align = descriptor->stream_state_align;
  if (align > kMaxAlign || (align != 0 && !std::has_single_bit(align))) {
    return refuse("found stream_state_align " + std::to_string(align) + "; it must be a power of two up to " +
                  std::to_string(kMaxAlign));
  }
  for (const char* const* name = descriptor->required_extensions; name != nullptr && *name != nullptr;
       ++name) {
    if (std::find(extensions.begin(), extensions.end(), *name) == extensions.end()) {
      return refuse("found that it needs the extension '" + std::string(*name) +
                    "', which this host does not have: update the host");
    }
  }
  return check_body_access(*descriptor);
}

}  // namespace extprocd::plugin
