#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// How the bytes of a fuzzer become a conversation. Everything is taken as it is: too short means zero or nothing.
namespace extprocd::fuzz {

/// Takes bytes from the front.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  uint16_t number() {
    const uint16_t low = byte();
    return static_cast<uint16_t>(low | (byte() << 8));
  }
  std::string_view text(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view rest_;
};

/// What the peer does next: the first byte of each step in the conversation.
enum class Step : uint8_t {
  kMessage,
  kHalfClose,
  kCancelByPeer,
  kCancelByShutdown,
  kTimePasses,
  kTimerFires,
  kPostedWork,
  kResume
};

/// Step::kMessage takes most values, so that changes of a byte rarely end a conversation.
inline Step step_of(uint8_t byte) {
  constexpr uint8_t kFirstOfWaiting = 237;
  constexpr uint8_t kOfEach = 4;
  if (byte < kFirstOfWaiting) return Step::kMessage;
  if (byte < 253) {
    return static_cast<Step>(static_cast<int>(Step::kTimePasses) + (byte - kFirstOfWaiting) / kOfEach);
  }
  return static_cast<Step>(byte - 252);
}

/// The head of a conversation: what the plugins do, and in what surroundings.
struct Head {
  uint8_t policies = 0;  ///< of the first plugin, times 3, plus that of the second
  uint8_t metadata =
      0;  ///< which gRPC metadata the stream has; above that, bits: timeouts, deadline, message_timeout
  uint8_t access =
      0;  ///< to bodies: two bits each, less one, of the first plugin's request, response, the second's
  uint8_t data_plane = 0;  ///< bits: pieces of local replies, mode overrides, more time, body modes stated
  std::string program;     ///< what the plugins do, at most 255 bytes
};

inline Head read_head(Input& input) {
  Head head;
  head.policies = input.byte();
  head.metadata = input.byte();
  head.access = input.byte();
  head.data_plane = input.byte();
  head.program = input.text(input.byte());
  return head;
}

/// The bytes that read_head() and the steps are read from, for making seeds.
inline std::string write_head(const Head& head) {
  std::string bytes = {static_cast<char>(head.policies), static_cast<char>(head.metadata),
                       static_cast<char>(head.access), static_cast<char>(head.data_plane),
                       static_cast<char>(head.program.size())};
  return bytes + head.program;
}
inline std::string write_message(std::string_view message) {
  const std::size_t size = std::min<std::size_t>(message.size(), 0xffff);
  std::string bytes = {0, static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
  return bytes.append(message.substr(0, size));
}
inline std::string write_half_close() { return "\xfd"; }
inline std::string write_timer() { return "\xf1"; }
inline std::string write_posted_work() { return "\xf5"; }
/// Of the handle with this number, counted from 0.
inline std::string write_resume(uint8_t handle) { return {'\xf9', static_cast<char>(handle)}; }

}  // namespace extprocd::fuzz
