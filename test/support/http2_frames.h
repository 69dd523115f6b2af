#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

// HTTP/2 as bytes, for tests that want to say exactly what goes over the wire: right, odd or wrong.
namespace extprocd::test {

using Fields = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr std::size_t kFrameHead = 9;

/// A frame of any kind, with its head.
std::string frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload);
std::string big_endian(uint32_t number);

std::string settings_frame(const std::vector<std::pair<uint16_t, uint32_t>>& settings = {});
std::string data_frame(int32_t stream, std::string_view bytes, bool end_stream = false);
std::string reset_frame(int32_t stream, uint32_t error);
std::string ping_frame(std::string_view eight_bytes, bool answer = false);
std::string window_update_frame(int32_t stream, uint32_t increment);
std::string goaway_frame(int32_t last_stream, uint32_t error);

/// A gRPC message with the prefix before it.
std::string grpc_message(std::string_view message, uint8_t flags = 0);
/// The contents as a gzip member.
std::string gzip(std::string_view contents);

/// The header list of a gRPC call, in order.
Fields grpc_call(std::string_view path);

/// Writes header blocks, one after the other: HPACK has a memory.
class HeaderWriter {
 public:
  HeaderWriter();
  HeaderWriter(const HeaderWriter&) = delete;
  HeaderWriter& operator=(const HeaderWriter&) = delete;
  ~HeaderWriter();

  std::string block(const Fields& fields);
  /// A HEADERS frame, with CONTINUATION frames where one has no room for it.
  std::string headers(int32_t stream, const Fields& fields, bool end_stream = false);

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

}  // namespace extprocd::test
