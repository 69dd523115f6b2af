#include "test/support/http2_reader.h"

#include <algorithm>

namespace extprocd::test {
namespace {

constexpr std::size_t kMostInAFrame = 16384;  // unless the client allows more, which no test does
constexpr std::size_t kPrefix = 5;

uint32_t number(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

std::string find(const Fields& fields, std::string_view name) {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

std::string Http2Reader::Stream::trailer(std::string_view name) const {
  return find(data_sizes.empty() && trailers.empty() ? head : trailers, name);
}

std::string Http2Reader::Stream::header(std::string_view name) const { return find(head, name); }

std::vector<std::string> Http2Reader::Stream::messages() const {
  std::vector<std::string> list;
  std::string_view rest = data;
  while (!rest.empty()) {
    if (rest.size() < kPrefix || rest.size() - kPrefix < number(rest.substr(1, 4))) {
      list.emplace_back("(cut off)");
      break;
    }
    const std::size_t size = number(rest.substr(1, 4));
    list.emplace_back(rest.substr(kPrefix, size));
    rest.remove_prefix(kPrefix + size);
  }
  return list;
}

Http2Reader::Http2Reader() { nghttp2_hd_inflate_new(&inflater_); }

Http2Reader::~Http2Reader() { nghttp2_hd_inflate_del(inflater_); }

void Http2Reader::read(std::string_view bytes) {
  bytes_.append(bytes);
  std::string_view rest = bytes_;
  while (rest.size() >= kFrameHead && wrong.empty()) {
    const std::size_t size = number(rest.substr(0, 3));
    require(size <= kMostInAFrame, "a frame of " + std::to_string(size) + " bytes");
    if (rest.size() - kFrameHead < size) break;
    on_frame(static_cast<uint8_t>(rest[3]), static_cast<uint8_t>(rest[4]),
             static_cast<int32_t>(number(rest.substr(5, 4))), rest.substr(kFrameHead, size));
    rest.remove_prefix(kFrameHead + size);
  }
  bytes_.erase(0, bytes_.size() - rest.size());
}

void Http2Reader::on_frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) {
  const bool is_answer = (flags & NGHTTP2_FLAG_ACK) != 0;
  const bool end_stream = (flags & NGHTTP2_FLAG_END_STREAM) != 0;
  require(settings_frames != 0 || type == NGHTTP2_SETTINGS, "SETTINGS are not the first frame");
  require(block_stream_ == 0 || (type == NGHTTP2_CONTINUATION && stream == block_stream_),
          "a header block is interrupted");
  switch (type) {
    case NGHTTP2_DATA:
      return on_data(stream, end_stream, payload);
    case NGHTTP2_HEADERS:
      require((flags & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) == 0, "HEADERS with what nobody needs");
      if ((flags & NGHTTP2_FLAG_END_HEADERS) != 0) return on_header_block(stream, end_stream, payload);
      block_ = payload;
      block_stream_ = stream;
      block_ends_stream_ = end_stream;
      return;
    case NGHTTP2_CONTINUATION:
      require(block_stream_ != 0, "CONTINUATION of nothing");
      block_.append(payload);
      if ((flags & NGHTTP2_FLAG_END_HEADERS) == 0) return;
      block_stream_ = 0;
      return on_header_block(stream, block_ends_stream_, block_);
    case NGHTTP2_RST_STREAM:
      require(payload.size() == 4, "RST_STREAM of a wrong size");
      if (knows_streams && !streams.contains(stream))
        return require(false, "RST_STREAM of a stream that is idle");
      require(!streams[stream].reset, "RST_STREAM behind RST_STREAM");
      streams[stream].reset = number(payload);
      return;
    case NGHTTP2_SETTINGS:
      return on_settings(is_answer, payload);
    case NGHTTP2_PING:
      require(payload.size() == 8, "PING of a wrong size");
      if (is_answer) {
        ping_answers.emplace_back(payload);
      } else {
        ++pings;
        answers += ping_frame(payload, true);
      }
      return;
    case NGHTTP2_GOAWAY:
      if (payload.size() < 8) return require(false, "GOAWAY of a wrong size");
      require(
          goaways.empty() || static_cast<int32_t>(number(payload.substr(0, 4))) <= goaways.back().last_stream,
          "a later GOAWAY takes streams back in");
      goaways.push_back({static_cast<int32_t>(number(payload.substr(0, 4))), number(payload.substr(4, 4))});
      return;
    case NGHTTP2_WINDOW_UPDATE:
      require(payload.size() == 4 && number(payload) != 0, "WINDOW_UPDATE by nothing");
      (stream == 0 ? connection_credit : streams[stream].credit) += number(payload);
      return;
    default:
      require(false, "a frame of type " + std::to_string(type));
  }
}

Http2Reader::Stream* Http2Reader::open_stream(int32_t stream, const char* what) {
  if (!knows_streams) opened(stream);
  const auto found = streams.find(stream);
  if (found == streams.end()) {
    require(false, std::string(what) + " of a stream that is idle");
    return nullptr;
  }
  require(!found->second.is_over(), std::string(what) + " behind a stream's end");
  return &found->second;
}

void Http2Reader::on_header_block(int32_t id, bool end_stream, std::string_view block) {
  Fields fields;
  const auto* next = reinterpret_cast<const uint8_t*>(block.data());
  std::size_t size = block.size();
  while (true) {
    nghttp2_nv field{};
    int flags = 0;
    const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, next, size, 1);
    if (used < 0) return require(false, "a header block that cannot be read");
    next += used;
    size -= static_cast<std::size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
      fields.emplace_back(std::string(reinterpret_cast<const char*>(field.name), field.namelen),
                          std::string(reinterpret_cast<const char*>(field.value), field.valuelen));
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && size == 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_);
  Stream* stream = open_stream(id, "HEADERS");
  if (stream == nullptr) return;
  const auto statuses =
      std::ranges::count_if(fields, [](const auto& field) { return field.first == ":status"; });
  const auto ends =
      std::ranges::count_if(fields, [](const auto& field) { return field.first == "grpc-status"; });
  require(statuses == (stream->has_head ? 0 : 1), "a head without :status, or trailers with one");
  require(ends == (end_stream ? 1 : 0), "grpc-status where the stream does not end, or none where it does");
  require(!stream->has_head || end_stream, "a second head");
  (stream->has_head ? stream->trailers : stream->head) = std::move(fields);
  stream->has_head = true;
  stream->ended = end_stream;
}

void Http2Reader::on_data(int32_t id, bool end_stream, std::string_view payload) {
  data_bytes += payload.size();
  Stream* stream = open_stream(id, "DATA");
  if (stream == nullptr) return;
  require(stream->has_head, "DATA before HEADERS");
  // Only what is no gRPC call is answered so.
  require(!end_stream || stream->header(":status") != "200", "a stream that ends without trailers");
  stream->ended = end_stream;
  stream->data.append(payload);
  stream->data_sizes.push_back(payload.size());
}

void Http2Reader::on_settings(bool is_answer, std::string_view payload) {
  if (is_answer) {
    ++settings_answers;
    return;
  }
  ++settings_frames;
  for (std::size_t at = 0; at + 6 <= payload.size(); at += 6)
    settings[static_cast<uint16_t>(number(payload.substr(at, 2)))] = number(payload.substr(at + 2, 4));
  answers += frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, {});
}

}  // namespace extprocd::test
