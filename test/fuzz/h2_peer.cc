#include "test/fuzz/h2_peer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

namespace extprocd::fuzz {
namespace {

constexpr std::string_view kProcess = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
constexpr uint32_t kLargeWindow = 1 << 30;

/// Odd things in the header list of a call, by bits.
void spoil(test::Fields& fields, uint16_t how, Input& input) {
  const auto has = [how](int bit) { return (how >> bit & 1) != 0; };
  const auto set = [&fields](std::string_view name, std::string value) {
    for (auto& field : fields) {
      if (field.first == name) field.second = std::move(value);
    }
  };
  if (has(0)) fields.emplace_back("grpc-timeout", std::string(input.text(input.byte() & 15)));
  if (has(1))
    fields.emplace_back("grpc-timeout", std::array{"1n", "1H", "99999999H", "5u"}[input.byte() & 3]);
  if (has(2)) fields.emplace_back("x-a-bin", std::string(input.text(input.byte() & 31)));
  if (has(3)) fields.emplace_back("x-a-bin", std::array{"YQ==", "YQ,Yg==", ",", "%"}[input.byte() & 3]);
  if (has(4)) fields.emplace_back("x-a", std::string(input.byte() * 8, 'x'));
  if (has(5)) set(":path", std::string(input.text(input.byte())));
  if (has(6)) set(":path", "/" + std::string(input.byte() * 64, '%'));
  if (has(7)) set(":method", std::array{"GET", "PUT", "POST", "X"}[input.byte() & 3]);
  if (has(8))
    set("content-type", std::array{"application/grpc+proto", "application/grpc;a", "application/grpcx",
                                   ""}[input.byte() & 3]);
  if (has(9))
    fields.emplace_back("grpc-encoding", std::array{"gzip", "identity", "deflate", ""}[input.byte() & 3]);
  if (has(10)) fields.emplace_back("grpc-encoding", "gzip");
  if (has(11)) fields.emplace_back("content-length", std::to_string(input.byte()));
  if (has(12))
    fields.emplace_back(std::string(input.text(input.byte() & 15)),
                        std::string(input.text(input.byte() & 15)));
  if (has(13)) fields.erase(fields.begin() + input.byte() % static_cast<int>(fields.size()));
}

}  // namespace

H2Peer::H2Peer(transport::Descriptor socket, Script& script, Server server)
    : socket_(std::move(socket)), script_(script), server_(std::move(server)) {
  fcntl(socket_.get(), F_SETFL, fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

void H2Peer::play(Input& input, bool greets) {
  if (greets) {
    push(std::string(test::kPreface) + test::settings_frame());
  } else {
    says_anything();
  }
  while (!input.empty() && !closed_ && !gave_up_) {
    take(static_cast<H2Step>(input.byte() % static_cast<uint8_t>(H2Step::kCount)), input);
    if (reads_) read();
  }
}

int32_t H2Peer::stream(Input& input) {
  const uint8_t choice = input.byte();
  if (choice < 0xf0 && next_ > 1) return 1 + 2 * (choice % ((next_ - 1) / 2));
  says_anything();
  return choice & 0xf;
}

void H2Peer::take(H2Step step, Input& input) {
  // A stream that has been half-closed may still be reset, and given a window.
  const auto speaks = [this](int32_t stream) {
    const auto found = calls_.find(stream);
    if (found == calls_.end() || found->second.half_closed) breaks_rules();
  };
  const auto ends = [this](int32_t stream, bool end) {
    if (end) calls_[stream].half_closed = true;
    return end;
  };
  switch (step) {
    case H2Step::kHead:
      return open(input);
    case H2Step::kMessage: {
      const int32_t to = stream(input);
      const uint8_t how = input.byte();
      speaks(to);
      std::string message;
      if ((how & 2) != 0) {
        message = std::string(input.number() & 0x3fff, 'm');
      } else {
        message = input.text(input.byte());
      }
      message = test::grpc_message(message, (how & 0xf0) == 0xf0 ? input.byte() : uint8_t{0});
      if ((how & 0xc) == 0xc) message.resize(input.byte() % (message.size() + 1));
      return send(test::data_frame(to, message, ends(to, (how & 1) != 0)));
    }
    case H2Step::kMessages: {
      const int32_t to = stream(input);
      speaks(to);
      std::string messages;
      for (int i = input.byte() & 31; i > 0; --i)
        messages += test::grpc_message(std::string(input.byte() & 63, 'n'));
      return send(test::data_frame(to, messages));
    }
    case H2Step::kPart: {
      const int32_t to = stream(input);
      speaks(to);
      return send(test::data_frame(to, input.text(input.byte())));
    }
    case H2Step::kGzip: {
      const int32_t to = stream(input);
      speaks(to);
      std::string packed = test::gzip(std::string(static_cast<std::size_t>(input.byte()) << 8, 'z'));
      if (const uint8_t cut = input.byte(); cut != 0) packed.resize(cut % (packed.size() + 1));
      return send(test::data_frame(to, test::grpc_message(packed, 1)));
    }
    case H2Step::kHalfClose: {
      const int32_t to = stream(input);
      speaks(to);
      return send(test::data_frame(to, {}, ends(to, true)));
    }
    case H2Step::kTrailers: {
      const int32_t to = stream(input);
      speaks(to);
      const bool end = (input.byte() & 7) != 0;
      if (!end) breaks_rules();
      return send(
          writer_.headers(to, {{"x-trailer", std::string(input.text(input.byte() & 31))}}, ends(to, end)));
    }
    case H2Step::kReset: {
      const int32_t to = stream(input);
      if (calls_.contains(to)) calls_.erase(to);
      // It may end at the same moment; that is all that is known of it from now on.
      return send(test::reset_frame(to, input.byte()));
    }
    case H2Step::kPing:
      return send(test::ping_frame(input.byte() < 200 ? "12345678" : "draining", (input.byte() & 1) != 0));
    case H2Step::kSettings: {
      const uint16_t name = input.byte() % 10;
      uint32_t value = input.number();
      if (name == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) {
        value <<= input.byte() & 15;
        window_ = std::max<uint64_t>(window_, value);
        if (value > kLargeWindow) breaks_rules();
      } else if (name != NGHTTP2_SETTINGS_HEADER_TABLE_SIZE &&
                 name != NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE) {
        breaks_rules();  // most values are wrong
      }
      return send(test::settings_frame({{name, value}}));
    }
    case H2Step::kWindow: {
      const uint8_t how = input.byte();
      const int32_t to = (how & 1) != 0 ? 0 : stream(input);
      const uint32_t size = (how & 2) != 0 ? kLargeWindow : input.number();
      if (size == 0 || (how & 2) != 0) breaks_rules();  // twice so much is too much
      (to == 0 ? connection_window_ : given_[to]) += size;
      return send(test::window_update_frame(to, size));
    }
    case H2Step::kGoAway:
      breaks_rules();
      return send(test::goaway_frame(input.byte(), input.byte()));
    case H2Step::kEmpty: {
      const int32_t to = stream(input);
      speaks(to);
      return send(test::data_frame(to, {}));
    }
    case H2Step::kAnyFrame: {
      says_anything();
      const uint8_t type = input.byte();
      const uint8_t flags = input.byte();
      const int32_t to = stream(input);
      return send(test::frame(type, flags, to, input.text(input.byte())));
    }
    case H2Step::kAnyBytes:
      says_anything();
      return send(std::string(input.text(input.number())));
    case H2Step::kBlock: {
      says_anything();
      const int32_t to = (input.byte() & 1) != 0 ? std::exchange(next_, next_ + 2) : stream(input);
      send(test::frame(NGHTTP2_HEADERS, 0, to, input.text(input.byte())));
      for (int i = input.byte() & 15; i > 0; --i)
        send(test::frame(NGHTTP2_CONTINUATION, 0, to, input.text(input.byte() & 31)));
      return send(test::frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, to, input.text(input.byte())));
    }
    case H2Step::kFlip:
      flip_at_ = input.byte();
      flip_by_ = input.byte();
      return;
    case H2Step::kPieces:
      piece_ = input.byte();
      return;
    case H2Step::kRead:
      reads_ = !reads_;
      return;
    case H2Step::kTurn:
      return turn();
    case H2Step::kTime:
      breaks_rules();  // connections close by it
      server_.pass(input.byte());
      return turn();
    case H2Step::kDrain:
      breaks_rules();
      server_.drain();
      return turn();
    case H2Step::kPost:
      if (script_.executors.empty()) return;
      script_.executors[input.byte() % script_.executors.size()]->post([] {});
      return turn();
    case H2Step::kEndWriting:
      breaks_rules();
      shutdown(socket_.get(), SHUT_WR);
      gave_up_ = true;
      return turn();
    case H2Step::kCount:
      return;
  }
}

void H2Peer::open(Input& input) {
  const uint16_t odd = input.number();
  test::Fields fields = test::grpc_call(kProcess);
  const int32_t id = std::exchange(next_, next_ + 2);
  const std::string name = std::to_string(id);
  fields.emplace_back("x-n", name);
  spoil(fields, odd, input);
  if ((odd & ((1 << 5) | (1 << 11) | (1 << 12) | (1 << 13))) != 0) breaks_rules();
  const bool end = (odd >> 14 & 1) != 0;
  calls_[id] = {name, end};
  reader_.opened(id);
  send(writer_.headers(id, fields, end));
}

void H2Peer::send(std::string bytes) {
  if (flip_at_ >= 0 && !bytes.empty()) {
    says_anything();
    bytes[static_cast<std::size_t>(flip_at_) % bytes.size()] ^= static_cast<char>(flip_by_);
    flip_at_ = -1;
  }
  if (piece_ == 0) {
    push(bytes);
    return;
  }
  // As many pieces as are worth it.
  constexpr std::size_t kPieces = 64;
  const std::size_t size = std::max(piece_, bytes.size() / kPieces);
  for (std::string_view rest = bytes; !rest.empty() && !gave_up_;) {
    push(rest.substr(0, size));
    rest.remove_prefix(std::min(size, rest.size()));
    server_.turn();
  }
}

/// False: it cannot go on like this.
bool H2Peer::push(std::string_view bytes) {
  for (int tries = 0; !bytes.empty() && tries < 4;) {
    const ssize_t size = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(size));
    } else if (errno == EAGAIN) {
      ++tries;  // the server does not read from who does not read
      turn();
    } else {
      break;
    }
  }
  gave_up_ = gave_up_ || !bytes.empty();
  if (gave_up_) breaks_rules();
  return !gave_up_;
}

void H2Peer::turn() {
  server_.turn();
  if (reads_) read();
}

void H2Peer::read() {
  std::array<char, 65536> buffer;  // NOLINT: filled by recv
  while (!closed_) {
    const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EAGAIN) break;
    if (size <= 0) {
      closed_ = true;
      break;
    }
    reader_.read({buffer.data(), static_cast<std::size_t>(size)});
    if (std::string owed = std::exchange(reader_.answers, {}); !owed.empty()) push(owed);
  }
  judge();
}

void H2Peer::judge() {
  for (const auto& [id, call] : calls_) script_.arrived[call.name] = reader_.streams[id].data.size();
  if (!reader_.wrong.empty()) std::fprintf(stderr, "the server sent: %s\n", reader_.wrong.c_str());
  require(reader_.wrong.empty(), "what the server sends is HTTP/2");
  if (!reader_.knows_streams || !is_legal_) return;
  require(reader_.data_bytes <= connection_window_, "the connection's window is kept");
  for (const auto& [id, one] : reader_.streams) {
    uint64_t bytes = 0;
    for (const std::size_t size : one.data_sizes) bytes += size;
    require(bytes <= window_ + given_[id], "a stream's window is kept");
  }
}

void H2Peer::conclude() {
  reads_ = true;
  piece_ = 0;
  flip_at_ = -1;
  if (!closed_ && !gave_up_) {
    window_ = std::max<uint64_t>(window_, kLargeWindow);
    const uint64_t most = connection_window_ < kLargeWindow ? kLargeWindow - connection_window_ : 1;
    connection_window_ += most;
    push(test::settings_frame({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kLargeWindow}}) +
         test::window_update_frame(0, static_cast<uint32_t>(most)));
  }
  const auto amount = [this] {
    std::size_t all = reader_.streams.size();
    for (const auto& [id, one] : reader_.streams) all += one.data.size() + (one.is_over() ? 1 : 0);
    return all;
  };
  for (std::size_t before = amount() + 1; before != amount() && !closed_;) {
    before = amount();
    for (int i = 0; i < 4; ++i) turn();
  }
  if (!is_legal_ || closed_ || gave_up_) return;
  for (const auto& [id, call] : calls_) {
    const auto found = script_.by_name.find(call.name);
    const Script::Life* life = found == script_.by_name.end() ? nullptr : found->second;
    const test::Http2Reader::Stream& got = reader_.streams[id];
    if (life != nullptr && !life->finished) continue;
    require(got.is_over(), "a call that has ended is told its status");
    if (life != nullptr && got.ended)
      require(got.data.size() == life->sent, "all replies come before the status");
  }
}

}  // namespace extprocd::fuzz
