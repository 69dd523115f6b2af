#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "core/transport/listen.h"
#include "test/fuzz/h2_script.h"
#include "test/fuzz/input.h"
#include "test/support/http2_frames.h"
#include "test/support/http2_reader.h"

namespace extprocd::fuzz {

/// What a peer does next; the number is the step's byte, by kCount.
enum class H2Step : uint8_t {
  kHead,       ///< HEADERS of a call, right or wrong in many ways
  kMessage,    ///< a DATA frame with one message
  kMessages,   ///< several in one frame
  kPart,       ///< a DATA frame with any bytes
  kGzip,       ///< a compressed message
  kHalfClose,  ///< an empty DATA frame with END_STREAM
  kTrailers,
  kReset,
  kPing,
  kSettings,
  kWindow,
  kGoAway,
  kEmpty,     ///< an empty DATA frame
  kAnyFrame,  ///< type, flags and payload as they come
  kAnyBytes,
  kBlock,   ///< HEADERS with a block as it comes, in pieces
  kFlip,    ///< changes a byte of the next frame
  kPieces,  ///< what follows goes out in pieces of this size
  kRead,    ///< reads, or stops reading
  kTurn,    ///< lets the server work
  kTime,    ///< time passes
  kDrain,
  kPost,  ///< work is posted to a stream, open or not
  kEndWriting,
  kCount
};

/// The client of a connection, driven by bytes; it judges what the server sends. Whether it is well-behaved itself is
/// up to the bytes.
class H2Peer {
 public:
  struct Server {
    std::function<void()> turn;
    std::function<void(int seconds)> pass;
    std::function<void()> drain;
  };

  H2Peer(transport::Descriptor socket, Script& script, Server server);

  /// Everything that the bytes say. `greets`: begins as HTTP/2 has to begin.
  void play(Input& input, bool greets);
  /// Reads to the end. Where the peer broke no rule, what streams have finished must have reached it.
  void conclude();

 private:
  struct Call {
    std::string name;
    bool half_closed = false;
  };

  void take(H2Step step, Input& input);
  void open(Input& input);
  int32_t stream(Input& input);
  void send(std::string bytes);
  bool push(std::string_view bytes);
  void read();
  void turn();
  void judge();
  void breaks_rules() { is_legal_ = false; }
  /// It may even open streams that are not known here.
  void says_anything() {
    is_legal_ = false;
    reader_.knows_streams = false;
    script_.names_hold = false;
  }

  transport::Descriptor socket_;
  Script& script_;
  const Server server_;
  test::Http2Reader reader_;
  test::HeaderWriter writer_;
  std::map<int32_t, Call> calls_;
  int32_t next_ = 1;
  std::size_t piece_ = 0;  // 0: all at once
  int flip_at_ = -1;
  uint8_t flip_by_ = 0;
  bool is_legal_ = true;
  bool reads_ = true;
  bool closed_ = false;                 // by the server
  bool gave_up_ = false;                // the server takes no more from it
  uint64_t window_ = 65535;             // the largest initial window of a stream that was said
  uint64_t connection_window_ = 65535;  // all that was ever given
  std::map<int32_t, uint64_t> given_;   // by WINDOW_UPDATE
};

}  // namespace extprocd::fuzz
