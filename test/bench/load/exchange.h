#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "test/bench/load/script.h"
#include "test/bench/session.h"

namespace extprocd::bench {

using Clock = std::chrono::steady_clock;

/// How exchanges are led, the same for all of a run.
struct Conduct {
  Script script;
  bool expect_mutation = false;  ///< the reply to request headers must change headers
  bool reset = false;            ///< end with RST_STREAM as Envoy does, without waiting for the status
  bool hold = false;             ///< stop after the first step until go_on()
};

class Exchange;

/// Who is told how exchanges go.
class ExchangeWatcher {
 public:
  virtual ~ExchangeWatcher() = default;
  /// A step's answers are all in; `latency` since the step was sent, for the first since `intended`.
  virtual void on_step(Exchange& exchange, std::size_t step, Clock::duration latency) = 0;
  /// So many bytes of a body came back.
  virtual void on_echo(std::size_t /*bytes*/) {}
  /// It is over; an empty fault means that all was right. The exchange is gone afterwards.
  virtual void on_end(Exchange& exchange, std::string_view fault) = 0;
};

/// One HTTP request with its response, as one ext_proc stream: sends the script's steps one after the other,
/// each when the one before has been answered, and checks every answer.
class Exchange : public Stream {
 public:
  /// `intended`: when it should have begun, however late it is now.
  Exchange(const Conduct& conduct, ExchangeWatcher& watcher, Clock::time_point intended);

  [[nodiscard]] Clock::time_point intended() const { return intended_; }
  /// Ends the hold.
  void go_on();

 private:
  void on_header(std::string_view name, std::string_view value) override;
  void on_message(std::string_view message) override;
  void on_malformed(std::string_view what) override;
  void on_half_close() override;
  void on_close(uint32_t http2_error, std::string_view lost) override;

  void check(const Answer& answer, const Reply& reply);
  void check_echo(const Reply& reply);
  void next_answer();
  void next_step();
  void fail(std::string fault);
  [[nodiscard]] bool all_answered() const { return step_ == conduct_.script.steps.size(); }
  [[nodiscard]] std::string fault_at_close(uint32_t http2_error, std::string_view lost) const;

  const Conduct& conduct_;
  ExchangeWatcher& watcher_;
  Clock::time_point intended_;
  Clock::time_point sent_;  // the current step
  std::size_t step_ = 0;
  std::size_t answer_ = 0;  // of the current step
  std::size_t echoed_ = 0;  // bytes of the current answer
  bool peer_closed_ = false;
  std::string http_status_;
  std::string grpc_status_;
  std::string grpc_message_;
  std::string fault_;
};

}  // namespace extprocd::bench
