#include "test/bench/load/exchange.h"

#include <utility>

namespace extprocd::bench {

Exchange::Exchange(const Conduct& conduct, ExchangeWatcher& watcher, Clock::time_point intended)
    : conduct_(conduct), watcher_(watcher), intended_(intended), sent_(intended) {
  send_borrowed(conduct_.script.steps.front().frames);
}

void Exchange::on_header(std::string_view name, std::string_view value) {
  if (name == ":status") http_status_ = value;
  if (name == "grpc-status") grpc_status_ = value;
  if (name == "grpc-message") grpc_message_ = value;
}

void Exchange::on_message(std::string_view message) {
  if (!fault_.empty()) return;
  Reply reply;
  if (!read_reply(message, reply)) return fail("a reply that is no ProcessingResponse");
  if (all_answered()) return fail("a reply too many: " + std::string(name_of(reply.kind)));
  check(conduct_.script.steps[step_].answers[answer_], reply);
}

void Exchange::check(const Answer& answer, const Reply& reply) {
  if (reply.kind != answer.kind) {
    return fail("expected " + std::string(name_of(answer.kind)) + ", got " +
                std::string(name_of(reply.kind)));
  }
  if (answer.is_echo) return check_echo(reply);
  if (reply.is_streamed) return fail("a streamed_response outside of FULL_DUPLEX_STREAMED");
  if (conduct_.expect_mutation && answer.kind == ReplyKind::kRequestHeaders && !reply.has_header_mutation) {
    return fail("the reply to request_headers changes no header");
  }
  next_answer();
}

void Exchange::check_echo(const Reply& reply) {
  const std::string& body = conduct_.script.body;
  if (!reply.is_streamed) return fail("no streamed_response in FULL_DUPLEX_STREAMED");
  if (std::string_view(body).substr(echoed_, reply.body.size()) != reply.body) {
    return fail("the echo differs from the body");
  }
  echoed_ += reply.body.size();
  watcher_.on_echo(reply.body.size());
  if (!reply.end_of_stream) return;
  if (echoed_ != body.size()) return fail("the echo is shorter than the body");
  echoed_ = 0;
  next_answer();
}

void Exchange::next_answer() {
  if (++answer_ < conduct_.script.steps[step_].answers.size()) return;
  answer_ = 0;
  const std::size_t done = step_++;
  watcher_.on_step(*this, done, Clock::now() - sent_);
  if (done > 0 || !conduct_.hold) next_step();
}

void Exchange::go_on() { next_step(); }

void Exchange::next_step() {
  if (all_answered()) {
    conduct_.reset ? half_close_and_reset() : half_close();
    return;
  }
  sent_ = Clock::now();
  send_borrowed(conduct_.script.steps[step_].frames);
}

void Exchange::on_malformed(std::string_view what) { fail(std::string(what)); }

void Exchange::fail(std::string fault) {
  if (!fault_.empty()) return;
  fault_ = std::move(fault);
  reset();
}

void Exchange::on_half_close() {
  peer_closed_ = true;
  // The server has said all; what we have to say would be lost.
  if (!all_answered()) reset();
}

std::string Exchange::fault_at_close(uint32_t http2_error, std::string_view lost) const {
  if (!fault_.empty()) return fault_;
  if (!lost.empty()) return "the connection was lost: " + std::string(lost);
  if (!http_status_.empty() && http_status_ != "200") return "HTTP status " + http_status_;
  if (!grpc_status_.empty() && grpc_status_ != "0") {
    return "gRPC status " + grpc_status_ + (grpc_message_.empty() ? "" : ": " + grpc_message_);
  }
  if (!all_answered()) {
    const std::string before = " before " + std::string(conduct_.script.steps[step_].name) + " was answered";
    if (peer_closed_) return "the stream was ended" + before;
    return "the stream was reset (" + std::string(nghttp2_http2_strerror(http2_error)) + ")" + before;
  }
  if (conduct_.reset) return {};
  if (!peer_closed_) return "the stream was reset (" + std::string(nghttp2_http2_strerror(http2_error)) + ")";
  return grpc_status_.empty() ? "the stream ended without a gRPC status" : "";
}

void Exchange::on_close(uint32_t http2_error, std::string_view lost) {
  watcher_.on_end(*this, fault_at_close(http2_error, lost));
}

}  // namespace extprocd::bench
