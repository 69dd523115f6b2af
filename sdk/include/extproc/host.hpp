#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <extproc/async_host.hpp>
#include <extproc/metrics.hpp>
#include <extproc/nanoseconds.hpp>
#include <extproc/status.hpp>
#include <extproc/work.hpp>

namespace extproc {
inline namespace v1 {

enum class LogLevel : std::uint32_t {
  kTrace = EXTPROC_LOG_TRACE,
  kDebug = EXTPROC_LOG_DEBUG,
  kInfo = EXTPROC_LOG_INFO,
  kWarn = EXTPROC_LOG_WARN,
  kError = EXTPROC_LOG_ERROR,
};

/// The server, as one plugin sees it: log, metrics, names. The reference that the plugin's constructor gets
/// is valid as long as the plugin. All functions but those that make metrics are [any-thread].
///
/// All that it uses of the core table has been in the contract since 1.0. A later function of a table is called only after
/// EXTPROC_HAS(table, type, function) and a look that the pointer is not null:
///
///     const extproc_host* table = host.table();
///     if (EXTPROC_HAS(table, extproc_host, new_function) && table->new_function != nullptr) ...
class Host {
 public:
  /// Made by the SDK; `table` outlives the object.
  explicit Host(const extproc_host* table)
      : table_(table),
        metrics_(static_cast<const extproc_metrics_api*>(table->get_extension(table, EXTPROC_METRICS_1))),
        metadata_(static_cast<const extproc_metadata_api*>(table->get_extension(table, EXTPROC_METADATA_1))),
        metadata_2_(
            static_cast<const extproc_metadata_api_2*>(table->get_extension(table, EXTPROC_METADATA_2))),
        store_(static_cast<const extproc_store_api*>(table->get_extension(table, EXTPROC_STORE_1))),
        body_(static_cast<const extproc_body_api*>(table->get_extension(table, EXTPROC_BODY_1))),
        control_(static_cast<const extproc_control_api*>(table->get_extension(table, EXTPROC_CONTROL_1))),
        streamed_reply_(static_cast<const extproc_streamed_reply_api*>(
            table->get_extension(table, EXTPROC_STREAMED_REPLY_1))),
        work_(static_cast<const extproc_work_api*>(table->get_extension(table, EXTPROC_WORK_1))),
        async_(std::make_shared<detail::AsyncHost>(table)) {}

  /// The configured name of this plugin: the `name` of its [[plugin]] entry. Valid as long as the plugin.
  std::string_view name() const noexcept { return detail::from_abi(table_->plugin_name); }
  /// The version of the server. Valid as long as the plugin.
  std::string_view version() const noexcept { return detail::from_abi(table_->version); }

  /// Is a message of this level written at all?
  bool log_enabled(LogLevel level) const noexcept {
    return table_->log_enabled(table_, static_cast<std::uint32_t>(level)) != 0;
  }

  /// Writes one line to the server's log under the plugin's name. The parts are streamed one after another,
  /// and only if the level is written: host.warn("limit is ", limit, " bytes").
  template <typename... Parts>
  void log(LogLevel level, const Parts&... parts) const {
    if (!log_enabled(level)) return;
    std::ostringstream text;
    (text << ... << parts);
    const std::string line = text.str();
    table_->log(table_, static_cast<std::uint32_t>(level), detail::to_abi(line));
  }
  template <typename... Parts>
  void trace(const Parts&... parts) const {
    log(LogLevel::kTrace, parts...);
  }
  template <typename... Parts>
  void debug(const Parts&... parts) const {
    log(LogLevel::kDebug, parts...);
  }
  template <typename... Parts>
  void info(const Parts&... parts) const {
    log(LogLevel::kInfo, parts...);
  }
  template <typename... Parts>
  void warn(const Parts&... parts) const {
    log(LogLevel::kWarn, parts...);
  }
  template <typename... Parts>
  void error(const Parts&... parts) const {
    log(LogLevel::kError, parts...);
  }

  /// Has `work`, a callable without arguments, run on one of the server's worker threads (server.workers), where it
  /// may block. It runs once, or is destroyed without running when the plugin is about to be destroyed; never later. An
  /// exception that leaves it is logged. It may not use a Stream, which may be over by then: give it what it needs, and a
  /// Resume. kLimit: too much work waits already.
  template <typename Work>
  void run_on_worker(Work&& work) const {
    check_work("run_on_worker", try_run_on_worker(std::forward<Work>(work)));
  }
  template <typename Work>
  Status try_run_on_worker(Work&& work) const {
    return detail::hand_over(work_, table_, 0, std::forward<Work>(work));
  }
  /// The same, but not before so much time has passed.
  template <typename Count, typename Period, typename Work>
  void run_on_worker_after(std::chrono::duration<Count, Period> time, Work&& work) const {
    check_work("run_on_worker_after", try_run_on_worker_after(time, std::forward<Work>(work)));
  }
  template <typename Count, typename Period, typename Work>
  Status try_run_on_worker_after(std::chrono::duration<Count, Period> time, Work&& work) const {
    return detail::hand_over(work_, table_, detail::to_nanoseconds(time), std::forward<Work>(work));
  }

  /// Makes a metric. [load]: only in the plugin's constructor. It is exported as extproc_plugin_<id>_<name>;
  /// a counter's name ends in _total, a unit is a base unit (_seconds, _bytes). The same name and labels give
  /// the same metric. A bad name, or one taken by another kind, makes loading fail with the host's text.
  Counter counter(std::string_view name, std::string_view help, const Labels& labels = {}) {
    return make<Counter>(labels, [&](const extproc_header* pairs) {
      return metrics_->counter(table_, detail::to_abi(name), detail::to_abi(help), pairs, labels.size());
    });
  }
  Gauge gauge(std::string_view name, std::string_view help, const Labels& labels = {}) {
    return make<Gauge>(labels, [&](const extproc_header* pairs) {
      return metrics_->gauge(table_, detail::to_abi(name), detail::to_abi(help), pairs, labels.size());
    });
  }
  /// `bounds` are upper bounds in rising order, without infinity.
  Histogram histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                      const Labels& labels = {}) {
    return make<Histogram>(labels, [&](const extproc_header* pairs) {
      return metrics_->histogram(table_, detail::to_abi(name), detail::to_abi(help), pairs, labels.size(),
                                 bounds.data(), bounds.size());
    });
  }

  /// The tables of the C contract, for what this layer does not offer. An extension that the host lacks is
  /// null.
  const extproc_host* table() const noexcept { return table_; }
  const extproc_metadata_api* metadata_table() const noexcept { return metadata_; }
  const extproc_metadata_api_2* metadata_table_2() const noexcept { return metadata_2_; }
  const extproc_store_api* store_table() const noexcept { return store_; }
  const extproc_body_api* body_table() const noexcept { return body_; }
  const extproc_control_api* control_table() const noexcept { return control_; }
  const extproc_streamed_reply_api* streamed_reply_table() const noexcept { return streamed_reply_; }
  const extproc_work_api* work_table() const noexcept { return work_; }
  const extproc_async_api* async_table() const noexcept { return async_->table(); }

  /// What a Resume keeps of the host. Used by the SDK.
  const std::shared_ptr<detail::AsyncHost>& async_host() const noexcept { return async_; }

  /// Could a metric not be made? Asked by the SDK after the plugin's constructor.
  bool metric_failed() const noexcept { return metric_failed_; }

 private:
  template <typename Metric, typename Maker>
  Metric make(const Labels& labels, Maker maker) {
    if (metrics_ == nullptr) return {};
    std::vector<extproc_header> pairs;
    pairs.reserve(labels.size());
    for (const auto& [name, value] : labels) pairs.push_back({detail::to_abi(name), detail::to_abi(value)});
    extproc_metric* metric = maker(pairs.data());
    metric_failed_ = metric_failed_ || metric == nullptr;
    return {metrics_, metric};
  }
  void check_work(std::string_view what, Status status) const {
    if (status == Status::kOk) return;
    if (work_ == nullptr) throw detail::too_old(what, table_);
    throw Refused(status, what, status == Status::kLimit ? "too much work waits already" : "");
  }

  const extproc_host* table_;
  const extproc_metrics_api* metrics_;
  const extproc_metadata_api* metadata_;
  const extproc_metadata_api_2* metadata_2_;
  const extproc_store_api* store_;
  const extproc_body_api* body_;
  const extproc_control_api* control_;
  const extproc_streamed_reply_api* streamed_reply_;
  const extproc_work_api* work_;
  std::shared_ptr<detail::AsyncHost> async_;
  bool metric_failed_ = false;
};

}  // namespace v1
}  // namespace extproc
