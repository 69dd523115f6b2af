#include "core/transport/h2/grpc_protocol.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "absl/strings/escaping.h"
#include <zlib.h>

namespace extprocd::transport::h2 {
namespace {

constexpr std::size_t kMostTimeoutDigits = 8;
constexpr std::size_t kMostText = 2 << 10;
constexpr int kGzipOnly = 16;  // added to the window's bits
constexpr std::size_t kFirstRoom = 16 << 10;

std::optional<std::chrono::nanoseconds> unit_of(char letter) {
  using namespace std::chrono_literals;
  switch (letter) {
    case 'H':
      return 1h;
    case 'M':
      return 1min;
    case 'S':
      return 1s;
    case 'm':
      return 1ms;
    case 'u':
      return 1us;
    case 'n':
      return 1ns;
    default:
      return std::nullopt;
  }
}

/// zlib's state, which has to be given back.
struct Inflation {
  z_stream state{};
  bool ready = inflateInit2(&state, MAX_WBITS + kGzipOnly) == Z_OK;

  Inflation() = default;
  Inflation(const Inflation&) = delete;
  Inflation& operator=(const Inflation&) = delete;
  ~Inflation() {
    if (ready) inflateEnd(&state);
  }
};

}  // namespace

Prefix Prefix::read(std::string_view bytes) {
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 1, sizeof length);
  return {static_cast<uint8_t>(bytes[0]), __builtin_bswap32(length)};
}

void Prefix::append(std::string& to, std::size_t length) {
  char prefix[kMessagePrefix] = {};
  const uint32_t big_endian = __builtin_bswap32(static_cast<uint32_t>(length));
  std::memcpy(prefix + 1, &big_endian, sizeof big_endian);
  to.append(prefix, kMessagePrefix);
}

std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMostTimeoutDigits + 1) return std::nullopt;
  uint32_t count = 0;
  const char* end = text.data() + text.size() - 1;
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  const auto unit = unit_of(text.back());
  if (error != std::errc() || stop != end || !unit) return std::nullopt;
  // The largest that is written so, 99,999,999 hours, is more than the type holds: some 290 years do.
  constexpr std::chrono::nanoseconds kMost = std::chrono::nanoseconds::max();
  return count > kMost / *unit ? kMost : count * *unit;
}

std::string_view shortened(std::string_view text) {
  if (text.size() <= kMostText) return text;
  std::size_t end = kMostText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

std::string percent_encoded(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte >= 0x20 && byte <= 0x7e && letter != '%') {
      encoded += letter;
    } else {
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 0xf];
    }
  }
  return encoded;
}

std::optional<std::string> decode_binary(std::string_view value) {
  // Abseil also takes spaces, and '.' for '='.
  if (value.find_first_of(" \t\n\v\f\r.") != std::string_view::npos) return std::nullopt;
  std::string bytes;
  if (!absl::Base64Unescape({value.data(), value.size()}, &bytes)) return std::nullopt;
  return bytes;
}

absl::StatusOr<std::string> gunzip(std::string_view bytes, std::size_t max_size) {
  Inflation inflation;
  if (!inflation.ready) return absl::InternalError("zlib cannot begin");
  z_stream& state = inflation.state;
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  state.avail_in = static_cast<uInt>(bytes.size());
  std::string result;
  while (true) {
    const std::size_t made = result.size();
    // One more than allowed, to tell.
    const std::size_t room = std::min(std::max(kFirstRoom, made), max_size + 1 - made);
    result.resize(made + room);
    state.next_out = reinterpret_cast<Bytef*>(result.data() + made);
    state.avail_out = static_cast<uInt>(room);
    const int code = inflate(&state, Z_NO_FLUSH);
    result.resize(made + room - state.avail_out);
    if (result.size() > max_size) return absl::ResourceExhaustedError("too large when decompressed");
    if (code == Z_STREAM_END && state.avail_in == 0) return result;
    if (code != Z_OK || (state.avail_in == 0 && state.avail_out != 0)) {
      return absl::InvalidArgumentError("the compressed message is not one gzip member");
    }
  }
}

}  // namespace extprocd::transport::h2
