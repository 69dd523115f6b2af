#include "test/support/http2_frames.h"

#include <algorithm>

#include <zlib.h>

namespace extprocd::test {
namespace {

constexpr std::size_t kMostInAFrame = 16384;

}  // namespace

std::string big_endian(uint32_t number) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(number >> shift);
  return bytes;
}

std::string frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) {
  std::string bytes = big_endian(static_cast<uint32_t>(payload.size())).substr(1);
  bytes += static_cast<char>(type);
  bytes += static_cast<char>(flags);
  return bytes.append(big_endian(static_cast<uint32_t>(stream))).append(payload);
}

std::string settings_frame(const std::vector<std::pair<uint16_t, uint32_t>>& settings) {
  std::string payload;
  for (const auto& [name, value] : settings) payload += big_endian(name).substr(2) + big_endian(value);
  return frame(NGHTTP2_SETTINGS, 0, 0, payload);
}

std::string data_frame(int32_t stream, std::string_view bytes, bool end_stream) {
  return frame(NGHTTP2_DATA, end_stream ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, stream, bytes);
}

std::string reset_frame(int32_t stream, uint32_t error) {
  return frame(NGHTTP2_RST_STREAM, 0, stream, big_endian(error));
}

std::string ping_frame(std::string_view eight_bytes, bool answer) {
  return frame(NGHTTP2_PING, answer ? NGHTTP2_FLAG_ACK : NGHTTP2_FLAG_NONE, 0, eight_bytes);
}

std::string window_update_frame(int32_t stream, uint32_t increment) {
  return frame(NGHTTP2_WINDOW_UPDATE, 0, stream, big_endian(increment));
}

std::string goaway_frame(int32_t last_stream, uint32_t error) {
  return frame(NGHTTP2_GOAWAY, 0, 0, big_endian(static_cast<uint32_t>(last_stream)) + big_endian(error));
}

std::string grpc_message(std::string_view message, uint8_t flags) {
  std::string bytes(1, static_cast<char>(flags));
  return bytes.append(big_endian(static_cast<uint32_t>(message.size()))).append(message);
}

std::string gzip(std::string_view contents) {
  constexpr int kGzipFormat = 16;
  z_stream state{};
  deflateInit2(&state, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzipFormat, 8, Z_DEFAULT_STRATEGY);
  std::string bytes(deflateBound(&state, contents.size()), '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(contents.data()));
  state.avail_in = static_cast<uInt>(contents.size());
  state.next_out = reinterpret_cast<Bytef*>(bytes.data());
  state.avail_out = static_cast<uInt>(bytes.size());
  deflate(&state, Z_FINISH);
  bytes.resize(state.total_out);
  deflateEnd(&state);
  return bytes;
}

Fields grpc_call(std::string_view path) {
  return {{":method", "POST"},      {":scheme", "http"}, {":path", std::string(path)},
          {":authority", "a.test"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
}

HeaderWriter::HeaderWriter() { nghttp2_hd_deflate_new(&deflater_, NGHTTP2_DEFAULT_HEADER_TABLE_SIZE); }

HeaderWriter::~HeaderWriter() { nghttp2_hd_deflate_del(deflater_); }

std::string HeaderWriter::block(const Fields& fields) {
  std::vector<nghttp2_nv> list;
  for (const auto& [name, value] : fields) {
    const auto bytes = [](const std::string& text) {
      return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
    };
    list.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  std::string bytes(nghttp2_hd_deflate_bound(deflater_, list.data(), list.size()), '\0');
  const ssize_t size = nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<uint8_t*>(bytes.data()),
                                             bytes.size(), list.data(), list.size());
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return bytes;
}

std::string HeaderWriter::headers(int32_t stream, const Fields& fields, bool end_stream) {
  const std::string all = block(fields);
  std::string bytes;
  uint8_t type = NGHTTP2_HEADERS;
  uint8_t flags = end_stream ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE;
  for (std::string_view rest = all; !rest.empty() || bytes.empty();) {
    const std::string_view part = rest.substr(0, kMostInAFrame);
    rest.remove_prefix(part.size());
    if (rest.empty()) flags |= NGHTTP2_FLAG_END_HEADERS;
    bytes += frame(type, flags, stream, part);
    type = NGHTTP2_CONTINUATION;
    flags = NGHTTP2_FLAG_NONE;
  }
  return bytes;
}

}  // namespace extprocd::test
