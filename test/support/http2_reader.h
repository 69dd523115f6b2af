#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "test/support/http2_frames.h"

namespace extprocd::test {

/// Takes apart what an HTTP/2 server sends, and judges it: the first thing that a server must not do is kept.
class Http2Reader {
 public:
  struct Stream {
    Fields head;  ///< of the response; with END_STREAM gRPC calls it "Trailers-Only"
    std::string data;
    Fields trailers;
    bool has_head = false;
    bool ended = false;                   ///< by END_STREAM
    std::optional<uint32_t> reset;        ///< by RST_STREAM
    uint64_t credit = 0;                  ///< of WINDOW_UPDATE
    std::vector<std::size_t> data_sizes;  ///< of its DATA frames

    [[nodiscard]] bool is_over() const { return ended || reset.has_value(); }
    /// The value of a name in the trailers, or in the head of a response without body.
    [[nodiscard]] std::string trailer(std::string_view name) const;
    [[nodiscard]] std::string header(std::string_view name) const;
    /// The gRPC messages in `data`; the last one is "(cut off)" if it is not whole.
    [[nodiscard]] std::vector<std::string> messages() const;
  };
  struct GoAway {
    int32_t last_stream;
    uint32_t error;
  };

  Http2Reader();
  Http2Reader(const Http2Reader&) = delete;
  Http2Reader& operator=(const Http2Reader&) = delete;
  ~Http2Reader();

  void read(std::string_view bytes);
  /// The client has begun a stream, and has given the server a window for it.
  void opened(int32_t stream) { streams[stream]; }

  /// What is owed to the server: answers to SETTINGS and PING. Taken out by the caller.
  std::string answers;
  /// Were all streams announced with opened()? Else the server may speak on any.
  bool knows_streams = true;
  std::string wrong;  ///< empty: nothing is
  std::map<int32_t, Stream> streams;
  std::map<uint16_t, uint32_t> settings;
  uint64_t connection_credit = 0;  ///< of WINDOW_UPDATE
  uint64_t data_bytes = 0;         ///< in DATA frames of all streams
  int settings_frames = 0;
  int settings_answers = 0;
  int pings = 0;
  std::vector<std::string> ping_answers;
  std::vector<GoAway> goaways;

 private:
  void on_frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload);
  void on_header_block(int32_t stream, bool end_stream, std::string_view block);
  void on_data(int32_t stream, bool end_stream, std::string_view payload);
  void on_settings(bool is_answer, std::string_view payload);
  void require(bool holds, const std::string& what) {
    if (!holds && wrong.empty()) wrong = what;
  }
  Stream* open_stream(int32_t stream, const char* what);

  nghttp2_hd_inflater* inflater_ = nullptr;
  std::string bytes_;
  std::string block_;  // a header block that goes on in CONTINUATION
  int32_t block_stream_ = 0;
  bool block_ends_stream_ = false;
};

}  // namespace extprocd::test
