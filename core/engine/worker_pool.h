#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "core/config/config.h"
#include "core/engine/seam.h"
#include "core/telemetry/registry.h"

namespace extprocd::engine {

/// The threads of [server.workers], for what may block: callbacks of plugins that say so, and work that plugins hand
/// over. They are begun when first wanted. What waits is run in the order in which it came, or its time came.
///
/// All functions from any thread, also from those of the pool.
class WorkerPool {
 public:
  using Duration = std::chrono::nanoseconds;

  /// Something to be done once: run, or given up (`dropped`). Lets no exception out. What it holds is released when
  /// it has returned and no longer counts as running.
  using Job = std::move_only_function<void(bool dropped)>;

  /// `registry` outlives the pool.
  WorkerPool(const config::Workers& settings, telemetry::Registry& registry);
  /// Waits for what runs, and runs what waits still but for its time, which is given up.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Has a thread run this. False, and the job is gone unrun, if max_queue others wait already. `owner`: for give_up().
  [[nodiscard]] bool submit(Job job, const void* owner = nullptr);
  /// The same, not before so much time has passed. Of these max_queue may wait for their time besides those that wait
  /// for a thread, so that neither keeps the other out.
  [[nodiscard]] bool submit_after(Duration delay, Job job, const void* owner = nullptr);
  /// The same for what is bounded elsewhere and must not be lost: the end of a stream, work that was accepted before.
  void submit_always(Job job, const void* owner = nullptr, Duration delay = {});

  /// Gives up what waits of an owner, here and now, and returns when nothing of it runs any more. Not from a job of this
  /// owner. Nothing may be submitted for it meanwhile or later.
  void give_up(const void* owner);

  /// How many jobs wait for a thread.
  [[nodiscard]] std::size_t queue_length() const;
  [[nodiscard]] const config::Workers& settings() const { return settings_; }

 private:
  struct Waiting {
    Job job;
    const void* owner;
    Clock::time_point since;  // or, of the delayed, until
  };

  struct Metrics {
    explicit Metrics(telemetry::Registry& registry);
    telemetry::Gauge& queue_length;
    telemetry::Gauge& busy;
    telemetry::Histogram& wait;
    telemetry::Counter& run;
    telemetry::Counter& refused;
    telemetry::Counter& dropped;
  };

  void add(Waiting waiting);
  void add_delayed(Waiting waiting);
  void wake_one();
  void work(std::size_t place);
  void wait(std::unique_lock<std::mutex>& lock);
  void run(std::unique_lock<std::mutex>& lock, std::size_t place);
  void queue_what_is_due();
  std::vector<Waiting> take_waiting(const void* owner);
  [[nodiscard]] bool runs(const void* owner) const;
  void drop(std::vector<Waiting> jobs);
  [[nodiscard]] bool refuse();

  const config::Workers settings_;
  Metrics metrics_;

  mutable std::mutex mutex_;
  std::condition_variable work_;  // something is in the queue, or the pool ends
  std::condition_variable time_;  // the same for the one that waits for a time, or there is an earlier one
  std::condition_variable returned_;  // a job with an owner
  std::deque<Waiting> queue_;
  std::vector<Waiting> delayed_;  // a heap, the earliest first
  std::vector<std::thread> threads_;
  std::vector<const void*> running_;  // the owner of what each thread runs; null: nobody's, or nothing
  std::size_t idle_ = 0;              // threads that wait for work_
  bool keeps_time_ = false;           // a thread waits for time_
  bool ends_ = false;
};

}  // namespace extprocd::engine
