#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/model/filter_settings.h"
#include "test/model/header_mutation.h"
#include "test/model/http_message.h"
#include "test/model/judgement.h"

namespace extprocd::model {

/// One direction of Envoy's ext_proc filter: what it sends when a part of the HTTP message arrives, what it holds back
/// until a reply is in, which replies it takes, and what it passes on. `filter` outlives it.
class DirectionModel {
 public:
  using ProcessingRequest = envoy::service::ext_proc::v3::ProcessingRequest;
  using CommonResponse = envoy::service::ext_proc::v3::CommonResponse;
  using HeaderMutation = envoy::service::ext_proc::v3::HeaderMutation;
  using StreamedBody = envoy::service::ext_proc::v3::StreamedBodyResponse;
  using Send = std::function<void(ProcessingRequest)>;

  /// Which reply the filter waits for.
  enum class State : std::uint8_t {
    kIdle,
    kHeaders,
    kBufferedBody,
    kStreamedBody,
    kBufferedPartialBody,
    kTrailers
  };

  DirectionModel(Side side, const FilterSettings& filter, HttpMessage message, Send send);

  // Arrivals (direction_arrivals.cc).
  /// Is there a part left that the filter would take now?
  [[nodiscard]] bool can_arrive() const;
  /// The next part arrives: headers, a piece of the body, trailers.
  void arrive();
  [[nodiscard]] bool headers_arrived() const { return headers_arrived_; }
  /// No more arrives: the exchange was given up on this side.
  void abandon() { abandoned_ = true; }

  // Replies (direction_replies.cc).
  Judgement headers_reply(const CommonResponse& reply);
  Judgement body_reply(const CommonResponse& reply);
  Judgement trailers_reply(const HeaderMutation& mutation);
  /// Could a local reply in pieces begin now, and it does: what still arrives of the request goes to the server, if it
  /// streams at all, and gets no reply.
  [[nodiscard]] bool takes_local_reply() const {
    return state_ == State::kHeaders && (no_body_ || mode_.body == ProcessingMode::NONE ||
                                         mode_.body == ProcessingMode::FULL_DUPLEX_STREAMED);
  }
  void begin_local_reply() { local_reply_ = true; }
  /// The stream to the server is over: what is held goes on unchanged, as does what still comes.
  void stop();
  /// mode_override, before anything of the body was sent.
  void override_mode(const SideSettings& mode) { mode_ = mode; }

  // Flow control: what the server gave back, and what it is to be given back.
  [[nodiscard]] bool add_to_send_window(std::int64_t bytes) {
    return !__builtin_add_overflow(send_window_, bytes, &send_window_);
  }
  [[nodiscard]] std::int64_t to_give_back() const { return to_give_back_; }
  std::int64_t give_back();
  /// No window is given back any more, so none is asked for.
  void stop_counting() { counts_ = false; }

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const SideSettings& mode() const { return mode_; }
  [[nodiscard]] const Passed& passed() const { return passed_; }
  /// Replies that the server still owes for what was sent; empty when it may rest.
  [[nodiscard]] std::vector<std::string> owed() const;

 private:
  // What arrives.
  void headers_arrive();
  void data_arrives(std::string data, bool end);
  void trailers_arrive();
  void show(const std::string& data, bool end);
  void show_trailers();

  // What is sent.
  void send_headers(bool end);
  void send_body(std::string_view data, bool end);
  void send_buffered(State state, bool end);
  void send_trailers();
  void fill(envoy::config::core::v3::HeaderMap& map, const Headers& headers) const;

  // What a reply leads to.
  Judgement replace_message(const CommonResponse& reply, Judgement judgement);
  void go_on_after_headers();
  void go_on_after_body();
  Judgement duplex_body_reply(const CommonResponse& reply);
  Judgement held_body_reply(const CommonResponse& reply);
  Judgement chunk_reply(const CommonResponse& reply);
  Judgement take_from_reply_window(std::size_t bytes);
  Judgement apply_to_held_headers(const CommonResponse& reply, bool replacing);
  void judge_route_cache(const CommonResponse& reply, Judgement& judgement) const;
  [[nodiscard]] bool duplex() const { return is_duplex(mode_.body); }
  [[nodiscard]] bool strips_content_length() const;

  // What goes on.
  void pass_headers();
  void pass_body(std::string_view data);
  void pass_trailers();
  void pass_end() { passed_.ended = true; }

  const Side side_;
  const FilterSettings& filter_;
  const HttpMessage incoming_;
  const Send send_;
  SideSettings mode_;

  State state_ = State::kIdle;
  bool headers_arrived_ = false;
  bool abandoned_ = false;
  std::size_t next_chunk_ = 0;
  std::size_t next_byte_ = 0;  // of that chunk, where flow control cuts it
  bool complete_ = false;      // the whole body has arrived
  bool trailers_arrived_ = false;
  bool no_body_ = false;

  Headers headers_;                      // held, with the changes so far
  Headers trailers_;                     // likewise
  std::optional<std::string> buffered_;  // not sent yet, or sent as one and held
  std::string rest_;                     // BUFFERED_PARTIAL: what came behind the part that was sent
  std::deque<std::string> chunks_;       // STREAMED: sent and held
  bool partial_done_ = false;
  bool body_sent_ = false;        // duplex: something of the body
  bool ended_by_server_ = false;  // duplex
  bool trailers_sent_ = false;
  bool trailers_answered_ = false;
  bool replaced_ = false;  // the original body is dropped
  bool bypass_ = false;    // nothing is sent any more
  bool local_reply_ = false;

  std::int64_t send_window_ = 0;
  std::int64_t reply_window_ = 0;
  std::int64_t to_give_back_ = 0;
  bool counts_ = true;

  Passed passed_;
};

}  // namespace extprocd::model
